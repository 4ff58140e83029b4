package pebble

import (
	"bufio"
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	logBytes    = 100 << 10
	lineBytes   = 64 << 10 // a longer line is cut
	entryWeight = 40       // what a line takes beside its text
)

// entry is a line that a service printed.
type entry struct {
	time time.Time
	text string
}

// lines are the last of what a service printed; total counts all that there ever were.
type lines struct {
	mu      sync.Mutex
	entries []entry
	size    int
	total   int
	hub     *hub
}

// add drops the oldest that are too many.
func (l *lines) add(text string) {
	l.mu.Lock()
	l.entries = append(l.entries, entry{time.Now(), text})
	l.size += len(text) + entryWeight
	l.total++
	drop := 0
	for l.size > logBytes && drop < len(l.entries)-1 {
		l.size -= len(l.entries[drop].text) + entryWeight
		l.entries[drop] = entry{}
		drop++
	}
	l.entries = l.entries[drop:]
	l.mu.Unlock()
	l.hub.wake()
}

// last gives the last lines, all for -1, and the total.
func (l *lines) last(count int) ([]entry, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if count < 0 || count > len(l.entries) {
		count = len(l.entries)
	}
	return append([]entry(nil), l.entries[len(l.entries)-count:]...), l.total
}

// since gives the lines after that total, as far as they are kept, and the new total.
func (l *lines) since(total int) ([]entry, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := min(l.total-total, len(l.entries))
	if count <= 0 {
		return nil, l.total
	}
	return append([]entry(nil), l.entries[len(l.entries)-count:]...), l.total
}

// hub wakes those who read the lines of services.
type hub struct {
	mu      sync.Mutex
	readers map[chan struct{}]struct{}
}

// join gives a channel that has an element when there is something new.
func (h *hub) join() chan struct{} {
	made := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readers[made] = struct{}{}
	return made
}

func (h *hub) leave(reader chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.readers, reader)
}

func (h *hub) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for reader := range h.readers {
		wake(reader)
	}
}

// wake puts an element into a channel that has none.
func wake(reader chan struct{}) {
	select {
	case reader <- struct{}{}:
	default:
	}
}

// readLines calls with each line until the end.
func readLines(from io.Reader, take func(string)) {
	reader := bufio.NewReader(from)
	var rest []byte
	for {
		part, err := reader.ReadSlice('\n')
		whole := err == nil
		part = bytes.TrimSuffix(part, []byte{'\n'})
		if whole && rest == nil {
			take(string(part))
			continue
		}
		rest = append(rest, part...)
		ended := err != nil && err != bufio.ErrBufferFull
		if whole || len(rest) >= lineBytes || ended && len(rest) > 0 {
			take(string(rest))
			rest = nil
		}
		if ended {
			return
		}
	}
}
