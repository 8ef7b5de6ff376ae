package index

import "iter"

// table holds entries in chunks: it grows without copying, and has nothing in it
// for the garbage collector to look at.
type table struct {
	chunks [][]entry
	used   uint32
	unused []uint32
}

const chunkSize = 4096

func (t *table) at(i uint32) *entry { return &t.chunks[i/chunkSize][i%chunkSize] }

func (t *table) add() (uint32, *entry) {
	if n := len(t.unused); n > 0 {
		i := t.unused[n-1]
		t.unused = t.unused[:n-1]
		return i, t.at(i)
	}
	if int(t.used) == len(t.chunks)*chunkSize {
		t.chunks = append(t.chunks, make([]entry, chunkSize))
	}
	i := t.used
	t.used++
	return i, t.at(i)
}

func (t *table) free(i uint32) {
	*t.at(i) = entry{}
	t.unused = append(t.unused, i)
}

// all are the entries, those that are free among them.
func (t *table) all() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for i := range t.used {
			if !yield(t.at(i)) {
				return
			}
		}
	}
}
