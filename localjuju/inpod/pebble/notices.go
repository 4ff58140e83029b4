package pebble

import (
	"slices"
	"strconv"
	"time"
)

const noticeExpires = 7 * 24 * time.Hour

// everybody is the user of a public notice.
const everybody = -1

// notice is what happened, once for each user, type and key.
type notice struct {
	id, kind, key         string
	user                  int
	first, last, repeated time.Time
	occurrences           int
	data                  map[string]string
	repeatAfter           time.Duration
}

type noticeJSON struct {
	ID            string            `json:"id"`
	UserID        *int              `json:"user-id"`
	Type          string            `json:"type"`
	Key           string            `json:"key"`
	FirstOccurred string            `json:"first-occurred"`
	LastOccurred  string            `json:"last-occurred"`
	LastRepeated  string            `json:"last-repeated"`
	Occurrences   int               `json:"occurrences"`
	LastData      map[string]string `json:"last-data,omitempty"`
	RepeatAfter   string            `json:"repeat-after,omitempty"`
	ExpireAfter   string            `json:"expire-after"`
}

func (n *notice) json() noticeJSON {
	found := noticeJSON{
		ID: n.id, Type: n.kind, Key: n.key, FirstOccurred: stamp(n.first),
		LastOccurred: stamp(n.last), LastRepeated: stamp(n.repeated),
		Occurrences: n.occurrences, LastData: n.data, ExpireAfter: noticeExpires.String(),
	}
	if n.user != everybody {
		user := n.user
		found.UserID = &user
	}
	if n.repeatAfter != 0 {
		found.RepeatAfter = n.repeatAfter.String()
	}
	return found
}

// notices wakes those who wait at each that is new or due again.
type notices struct {
	all     []*notice
	lastID  int
	last    time.Time
	changed chan struct{} // closed and replaced at each
}

func newNotices() *notices { return &notices{changed: make(chan struct{})} }

// add records an occurrence.
func (n *notices) add(
	kind, key string, user int, data map[string]string, repeatAfter time.Duration,
) *notice {
	// Later ones are found by `after`: two must not have the same time.
	now := time.Now().UTC().Truncate(time.Microsecond)
	if !now.After(n.last) {
		now = n.last.Add(time.Microsecond)
	}
	n.last = now
	n.forgetOld()
	at := slices.IndexFunc(n.all, func(known *notice) bool {
		return known.user == user && known.kind == kind && known.key == key
	})
	if at < 0 {
		n.lastID++
		at = len(n.all)
		n.all = append(n.all, &notice{
			id: strconv.Itoa(n.lastID), kind: kind, key: key, user: user, first: now, repeated: now,
		})
	}
	found := n.all[at]
	due := !now.Before(found.repeated.Add(found.repeatAfter))
	found.last = now
	found.occurrences++
	found.data = data
	found.repeatAfter = repeatAfter
	if found.occurrences == 1 || repeatAfter == 0 || due {
		found.repeated = now
		close(n.changed)
		n.changed = make(chan struct{})
	}
	return found
}

// get finds a notice by its id, nil where there is none.
func (n *notices) get(id string) *notice {
	for _, known := range n.all {
		if known.id == id {
			return known
		}
	}
	return nil
}

// noticeFilter has empty lists for all; everybody for all users; a zero time for any.
type noticeFilter struct {
	types, keys []string
	user        int
	after       time.Time
}

// find gives those that match, the one repeated longest ago first.
func (n *notices) find(by noticeFilter) []noticeJSON {
	n.forgetOld()
	var matching []*notice
	for _, known := range n.all {
		if (len(by.types) == 0 || slices.Contains(by.types, known.kind)) &&
			(len(by.keys) == 0 || slices.Contains(by.keys, known.key)) &&
			(by.user == everybody || known.user == everybody || known.user == by.user) &&
			known.repeated.After(by.after) {
			matching = append(matching, known)
		}
	}
	slices.SortStableFunc(matching, func(a, b *notice) int { return a.repeated.Compare(b.repeated) })
	found := []noticeJSON{}
	for _, known := range matching {
		found = append(found, known.json())
	}
	return found
}

func (n *notices) forgetOld() {
	oldest := time.Now().Add(-noticeExpires)
	n.all = slices.DeleteFunc(n.all, func(known *notice) bool { return known.last.Before(oldest) })
}
