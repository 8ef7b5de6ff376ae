package report

import "strconv"

// Thousands writes a number rounded to a whole one, with its thousands apart.
func Thousands[N ~int | ~int64 | ~float64](n N) string {
	digits := strconv.FormatFloat(float64(n), 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
