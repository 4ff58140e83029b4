package pebble

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestWhatARequestNeeds(t *testing.T) {
	needs := map[string]string{}
	for _, each := range (&daemon{}).routes() {
		needs[each.method+" "+each.path] = each.need
	}
	for need, requests := range map[string][]string{
		open:    {"GET /v1/health", "GET /v1/system-info"},
		metrics: {"GET /v1/metrics"},
		read: {
			"GET /v1/services", "GET /v1/plan", "GET /v1/logs", "GET /v1/identities",
			"GET /v1/notices", "POST /v1/notices", "GET /v1/changes/{id}/wait",
		},
		admin: {
			"POST /v1/services", "POST /v1/layers", "POST /v1/exec", "GET /v1/files",
			"POST /v1/files", "POST /v1/identities", "POST /v1/checks",
			"GET /v1/tasks/{task}/websocket/{name}",
		},
	} {
		for _, request := range requests {
			if needs[request] != need {
				t.Errorf("%s needs %q, not %q", request, needs[request], need)
			}
		}
	}
}

func TestWhatEachLevelMayDo(t *testing.T) {
	for level, expected := range map[string][2][]string{
		admin:     {{open, metrics, read, admin}, {open}},
		read:      {{open, metrics, read}, {open}},
		metrics:   {{open, metrics}, {open, metrics}},
		untrusted: {{open}, {open}},
		"":        {{open}, {open}},
	} {
		for at, local := range []bool{true, false} {
			var may []string
			for _, need := range []string{open, metrics, read, admin} {
				if allowed(level, need, local) {
					may = append(may, need)
				}
			}
			if !reflect.DeepEqual(may, expected[at]) {
				t.Errorf("level %q, at the socket %v: may %v", level, local, may)
			}
		}
	}
}

func TestAWrongIdentityChangesNothing(t *testing.T) {
	known, err := readIdentities(filepath.Join(t.TempDir(), "identities.json"))
	if err != nil {
		t.Fatal(err)
	}
	change := func(action, text string) error {
		var given map[string]*identity
		if err := json.Unmarshal([]byte(text), &given); err != nil {
			t.Fatal(err)
		}
		return known.change(action, given)
	}
	if err := change("add", `{"bob": {"access": "admin", "local": {"user-id": 42}}}`); err != nil {
		t.Fatal(err)
	}
	before := known.shown()
	for _, each := range []struct{ action, given, told string }{
		{"keep", `{}`, `invalid action "keep"`},
		{"add", `{"bob": {"access": "read", "local": {"user-id": 1}}}`, "already exist: bob"},
		{"update", `{"al": {"access": "read", "local": {"user-id": 1}}}`, "do not exist: al"},
		{"remove", `{"al": null}`, "do not exist: al"},
		{"remove", `{"bob": {"access": "read", "local": {"user-id": 1}}}`, "must be null"},
		{"add", `{"al": null}`, "must not be null"},
		{"add", `{"al": {"access": "read", "local": {"user-id": 42}}}`, "user ID 42 (al, bob)"},
		{"add", `{"4": {"access": "read", "local": {"user-id": 1}}}`, "must start with an"},
		{"add", `{"al": {"access": "root", "local": {"user-id": 1}}}`, `invalid access value "root"`},
		{"add", `{"al": {"local": {"user-id": 1}}}`, "access value must be specified"},
		{"add", `{"al": {"access": "read", "local": {}}}`, "must specify user-id"},
		{"add", `{"al": {"access": "read", "basic": {}}}`, "must specify password"},
		{"add", `{"al": {"access": "read"}}`, "at least one type"},
	} {
		err := change(each.action, each.given)
		if err == nil || !strings.Contains(err.Error(), each.told) {
			t.Errorf("%s %s: told %v, not %q", each.action, each.given, err, each.told)
		}
		if !reflect.DeepEqual(known.shown(), before) {
			t.Fatalf("%s %s: changed to %v", each.action, each.given, known.shown())
		}
	}
}
