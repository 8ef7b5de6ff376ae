package model

// Diff returns the paths at which two orders differ, in the order of the canonical JSON,
// without values. It is empty if and only if their canonical JSON is the same.
//
// A part that only one of them has is named as a whole (delivery). Items are
// compared by position; if one order has more of them, items itself is named
// as well, before the items that both have.
func Diff(a, b *Order) []string {
	return diffObject(nil, "", a, b, orderFields)
}

func diffItems(paths []string, a, b *Order) []string {
	if len(a.Items) != len(b.Items) {
		paths = append(paths, "items")
	}
	for i := range min(len(a.Items), len(b.Items)) {
		if a.Items[i] != b.Items[i] {
			paths = diffObject(paths, itemPath(i)+".", &a.Items[i], &b.Items[i], itemFields)
		}
	}
	return paths
}

func diffObject[T any](paths []string, prefix string, a, b *T, fields []field[T]) []string {
	for i := range fields {
		f := &fields[i]
		same := true
		switch {
		case f.text != nil:
			same = *f.text(a) == *f.text(b)
		case f.number != nil:
			same = *f.number(a) == *f.number(b)
		case f.time != nil:
			same = toMicrosecond(*f.time(a)).Equal(toMicrosecond(*f.time(b)))
		default:
			paths = f.part.diff(paths, a, b)
		}
		if !same {
			paths = append(paths, prefix+f.name)
		}
	}
	return paths
}
