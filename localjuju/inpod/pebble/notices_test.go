package pebble

import (
	"testing"
	"time"
)

func TestANoticeIsForgottenAfterAWeek(t *testing.T) {
	kept := newNotices()
	for age, left := range map[time.Duration]int{6 * 24 * time.Hour: 1, 7*24*time.Hour + 1: 0} {
		kept.all = nil
		kept.add("custom", "example.com/old", everybody, nil, 0).last = time.Now().Add(-age)
		if found := kept.find(noticeFilter{user: everybody}); len(found) != left {
			t.Errorf("after %v: %v", age, found)
		}
	}
}
