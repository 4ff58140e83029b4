package pebble

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	taskLogLines = 10
	keptChanges  = 500
)

// task is a step of a change. Its status is Do, Doing, Done, Error or Hold.
type task struct {
	id, kind, summary, status string
	log                       []string
	data                      map[string]any
	spawned, ready            time.Time
}

// addLog adds a line; the oldest go.
func (t *task) addLog(level, text string) {
	t.log = append(t.log, stamp(time.Now())+" "+level+" "+text)
	t.log = t.log[max(0, len(t.log)-taskLogLines):]
}

func (t *task) end(status string) {
	t.status = status
	t.ready = time.Now()
}

type progressJSON struct {
	Label string `json:"label"`
	Done  int    `json:"done"`
	Total int    `json:"total"`
}

type taskJSON struct {
	ID        string         `json:"id"`
	Kind      string         `json:"kind"`
	Summary   string         `json:"summary"`
	Status    string         `json:"status"`
	Log       []string       `json:"log,omitempty"`
	Progress  progressJSON   `json:"progress"`
	SpawnTime string         `json:"spawn-time"`
	ReadyTime string         `json:"ready-time,omitempty"`
	Data      map[string]any `json:"data,omitempty"`
}

func (t *task) json() taskJSON {
	done := 0
	if t.status == "Done" || t.status == "Error" || t.status == "Hold" {
		done = 1
	}
	found := taskJSON{
		ID: t.id, Kind: t.kind, Summary: t.summary, Status: t.status, Log: slices.Clone(t.log),
		Progress: progressJSON{Done: done, Total: 1}, SpawnTime: stamp(t.spawned), Data: t.data,
	}
	if !t.ready.IsZero() {
		found.ReadyTime = stamp(t.ready)
	}
	return found
}

// change is what a request asked for. done is closed when it is ready.
type change struct {
	id, kind, summary string
	tasks             []*task
	spawned, ready    time.Time
	done              chan struct{}
	tell              func(*change)
}

func (c *change) isReady() bool { return !c.ready.IsZero() }

// status is the worst of the tasks'.
func (c *change) status() string {
	for _, status := range []string{"Error", "Doing", "Do", "Hold"} {
		if slices.ContainsFunc(c.tasks, func(t *task) bool { return t.status == status }) {
			if status == "Error" && !c.isReady() {
				return "Doing"
			}
			return status
		}
	}
	return "Done"
}

// failure says why it failed, "" where it did not.
func (c *change) failure() string {
	var lines []string
	for _, t := range c.tasks {
		if t.status != "Error" {
			continue
		}
		said := ""
		if len(t.log) > 0 {
			said = strings.SplitN(t.log[len(t.log)-1], " ", 3)[2]
		}
		lines = append(lines, fmt.Sprintf("\n- %s (%s)", t.summary, said))
	}
	if lines == nil {
		return ""
	}
	return "cannot perform the following tasks:" + strings.Join(lines, "")
}

// finish marks it ready: all that wait for it go on.
func (c *change) finish() {
	c.ready = time.Now()
	close(c.done)
	c.tell(c)
}

type changeJSON struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind"`
	Summary   string     `json:"summary"`
	Status    string     `json:"status"`
	Tasks     []taskJSON `json:"tasks"`
	Ready     bool       `json:"ready"`
	Err       string     `json:"err,omitempty"`
	SpawnTime string     `json:"spawn-time"`
	ReadyTime string     `json:"ready-time,omitempty"`
}

func (c *change) json() changeJSON {
	found := changeJSON{
		ID: c.id, Kind: c.kind, Summary: c.summary, Status: c.status(), Ready: c.isReady(),
		SpawnTime: stamp(c.spawned), Tasks: []taskJSON{},
	}
	for _, t := range c.tasks {
		found.Tasks = append(found.Tasks, t.json())
	}
	if c.isReady() {
		found.ReadyTime = stamp(c.ready)
		found.Err = c.failure()
	}
	return found
}

// changes are all of this daemon, oldest first; of those that are ready the last are kept.
type changes struct {
	tell       func(*change) // told of each change of status
	lastChange int
	lastTask   int
	all        []*change
}

// step is what a task will do.
type step struct{ kind, summary string }

func (c *changes) add(kind, summary string, steps ...step) *change {
	c.lastChange++
	made := &change{
		id: strconv.Itoa(c.lastChange), kind: kind, summary: summary, spawned: time.Now(),
		done: make(chan struct{}), tell: c.tell,
	}
	for _, each := range steps {
		c.lastTask++
		made.tasks = append(made.tasks, &task{
			id: strconv.Itoa(c.lastTask), kind: each.kind, summary: each.summary, status: "Do",
			spawned: time.Now(),
		})
	}
	c.all = append(c.all, made)
	ready := 0
	for _, known := range c.all {
		if known.isReady() {
			ready++
		}
	}
	c.all = slices.DeleteFunc(c.all, func(known *change) bool {
		old := known.isReady() && ready > keptChanges
		if old {
			ready--
		}
		return old
	})
	return made
}

// get finds a change by its id, nil where there is none.
func (c *changes) get(id string) *change {
	for _, known := range c.all {
		if known.id == id {
			return known
		}
	}
	return nil
}
