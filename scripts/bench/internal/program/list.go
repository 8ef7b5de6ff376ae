package program

import (
	"fmt"
	"strconv"
	"strings"
)

// List is a flag of positive numbers, such as 1,3,10.
type List []int

// String is the form that Set reads.
func (l *List) String() string {
	texts := make([]string, len(*l))
	for i, n := range *l {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, ",")
}

// Set implements flag.Value. An empty text is an empty list.
func (l *List) Set(text string) error {
	*l = nil
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 1 {
			return fmt.Errorf("%q is no list of positive numbers such as 1,3,10", text)
		}
		*l = append(*l, n)
	}
	return nil
}
