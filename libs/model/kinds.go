package model

import (
	"slices"
	"strings"
)

// IsText reports whether the field at a path, such as items[2].size, is a string in JSON.
func IsText(path string) bool {
	container, name, nested := strings.Cut(path, ".")
	switch {
	case !nested:
		return isTextOf(orderFields, path)
	case container == "delivery":
		return isTextOf(deliveryFields, name)
	case container == "payment":
		return isTextOf(paymentFields, name)
	case strings.HasPrefix(container, "items["):
		return isTextOf(itemFields, name)
	}
	return false
}

func isTextOf[T any](fields []field[T], name string) bool {
	return slices.ContainsFunc(fields, func(f field[T]) bool { return f.name == name && (f.text != nil || f.time != nil) })
}
