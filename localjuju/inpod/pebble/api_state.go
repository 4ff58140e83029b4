package pebble

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (d *daemon) systemInfo(http.ResponseWriter, *http.Request) (any, error) {
	return map[string]string{"version": version, "boot-id": d.bootID}, nil
}

func levelOf(r *http.Request) (string, error) {
	level := r.URL.Query().Get("level")
	if level != "" && level != "alive" && level != "ready" {
		return "", refused(`level must be "alive" or "ready"`)
	}
	return level, nil
}

func (d *daemon) health(_ http.ResponseWriter, r *http.Request) (any, error) {
	level, err := levelOf(r)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, each := range d.checks.find(level, many(r, "names")) {
		if each.status() == "down" {
			return withStatus{http.StatusBadGateway, map[string]bool{"healthy": false}}, nil
		}
	}
	return map[string]bool{"healthy": true}, nil
}

// Changes --------------------------------------------------------------------------------------

func (d *daemon) listChanges(_ http.ResponseWriter, r *http.Request) (any, error) {
	wanted := r.URL.Query().Get("select")
	if wanted == "" {
		wanted = "in-progress"
	}
	if !slices.Contains([]string{"all", "in-progress", "ready"}, wanted) {
		return nil, refused("select should be one of: all,in-progress,ready")
	}
	service := strconv.Quote(r.URL.Query().Get("for"))
	d.mu.Lock()
	defer d.mu.Unlock()
	found := []changeJSON{}
	for _, each := range d.changes.all {
		about := service == `""` || slices.ContainsFunc(each.tasks, func(t *task) bool {
			return strings.Contains(t.summary, service)
		})
		if about && (wanted == "all" || (wanted == "ready") == each.isReady()) {
			found = append(found, each.json())
		}
	}
	return found, nil
}

// findChange is called with the lock held.
func (d *daemon) findChange(r *http.Request) (*change, error) {
	found := d.changes.get(r.PathValue("id"))
	if found == nil {
		return nil, notFound("cannot find change with id %q", r.PathValue("id"))
	}
	return found, nil
}

func (d *daemon) showChange(_ http.ResponseWriter, r *http.Request) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	found, err := d.findChange(r)
	if err != nil {
		return nil, err
	}
	return found.json(), nil
}

func (d *daemon) abortChange(_ http.ResponseWriter, r *http.Request) (any, error) {
	var body struct{ Action string }
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	found, err := d.findChange(r)
	if err != nil {
		return nil, err
	}
	if body.Action != "abort" {
		return nil, refused("change action %q is unsupported", body.Action)
	}
	if found.isReady() {
		return nil, refused("cannot abort change %s with nothing pending", found.id)
	}
	for _, each := range found.tasks {
		if each.status == "Do" {
			each.status = "Hold"
		}
	}
	return found.json(), nil
}

func (d *daemon) waitChange(_ http.ResponseWriter, r *http.Request) (any, error) {
	d.mu.Lock()
	found, err := d.findChange(r)
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var late <-chan time.Time
	if text := r.URL.Query().Get("timeout"); text != "" {
		most, err := time.ParseDuration(text)
		if err != nil {
			return nil, refused("invalid timeout: %v", err)
		}
		timer := time.NewTimer(most)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-found.done:
	case <-late:
		return nil, &apiError{"timed out waiting for change", http.StatusGatewayTimeout, ""}
	case <-r.Context().Done():
		return written, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return found.json(), nil
}

// Checks ---------------------------------------------------------------------------------------

func (d *daemon) listChecks(_ http.ResponseWriter, r *http.Request) (any, error) {
	level, err := levelOf(r)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	found := []checkJSON{}
	for _, each := range d.checks.find("", many(r, "names")) {
		if level == "" || each.config.Level == level {
			found = append(found, each.json())
		}
	}
	return found, nil
}

func (d *daemon) changeChecks(_ http.ResponseWriter, r *http.Request) (any, error) {
	var body struct {
		Action string
		Checks []string
	}
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	if body.Action != "start" && body.Action != "stop" {
		return nil, refused("action %q is unsupported", body.Action)
	}
	if len(body.Checks) == 0 {
		return nil, refused("no checks to %s provided", body.Action)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range body.Checks {
		if d.checks.all[name] == nil {
			return nil, noCheck(name)
		}
	}
	changed := []string{}
	for _, name := range body.Checks {
		each := d.checks.all[name]
		if each.active() == (body.Action == "start") {
			continue
		}
		if body.Action == "start" {
			each.start()
		} else {
			each.stop()
		}
		changed = append(changed, name)
	}
	slices.Sort(changed)
	return map[string][]string{"changed": changed}, nil
}

func noCheck(name string) error {
	return &apiError{"cannot find checks in plan: " + name, http.StatusNotFound, ""}
}

func (d *daemon) refreshCheck(_ http.ResponseWriter, r *http.Request) (any, error) {
	var body struct{ Name string }
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	d.mu.Lock()
	known := d.checks.all[body.Name]
	d.mu.Unlock()
	if known == nil {
		return nil, noCheck(body.Name)
	}
	text := ""
	if err := known.perform(r.Context()); err != nil {
		text = err.Error()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return map[string]any{"info": known.json(), "error": text}, nil
}

// Notices --------------------------------------------------------------------------------------

// noticeUser gives the user id whose notices these are. It fails where a password says none.
func (d *daemon) noticeUser(r *http.Request) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	user := userOf(r)
	if user == nobody || d.identities.byPassword(loginOf(r)) != nil {
		return 0, &apiError{
			"cannot determine UID of request, so cannot use notices", http.StatusForbidden, ""}
	}
	return user, nil
}

func (d *daemon) noticeFilter(r *http.Request) (noticeFilter, error) {
	query := r.URL.Query()
	by := noticeFilter{types: many(r, "types"), keys: many(r, "keys")}
	var err error
	if by.user, err = d.noticeUser(r); err != nil {
		return by, err
	}
	for _, name := range []string{"user-id", "users"} {
		if query.Has(name) && d.level(r) != admin {
			return by, &apiError{fmt.Sprintf("only admins may use the %q filter", name), 403, ""}
		}
	}
	switch {
	case query.Has("users") && query.Has("user-id"):
		return by, refused(`cannot use both "users" and "user-id" parameters`)
	case query.Has("users"):
		if query.Get("users") != "all" {
			return by, refused(`invalid "users" filter: must be "all"`)
		}
		by.user = everybody
	case query.Has("user-id"):
		if by.user, err = strconv.Atoi(query.Get("user-id")); err != nil || by.user < 0 {
			return by, refused(`invalid "user-id" filter: %q`, query.Get("user-id"))
		}
	}
	if text := query.Get("after"); text != "" {
		if by.after, err = time.Parse(time.RFC3339, text); err != nil {
			return by, refused(`invalid "after" timestamp: %v`, err)
		}
	}
	return by, nil
}

func (d *daemon) listNotices(_ http.ResponseWriter, r *http.Request) (any, error) {
	by, err := d.noticeFilter(r)
	if err != nil {
		return nil, err
	}
	most, err := parseDuration(r.URL.Query().Get("timeout"))
	if err != nil {
		return nil, refused("invalid timeout: %v", err)
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	for late := most <= 0; ; {
		d.mu.Lock()
		found, changed := d.notices.find(by), d.notices.changed
		d.mu.Unlock()
		if len(found) > 0 || late {
			return found, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			late = true
		case <-r.Context().Done():
			return written, nil
		}
	}
}

func (d *daemon) addNotice(_ http.ResponseWriter, r *http.Request) (any, error) {
	var body struct {
		Action, Type, Key string
		RepeatAfter       string `json:"repeat-after"`
		Data              map[string]string
	}
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	if body.Action != "add" {
		return nil, refused("invalid action %q", body.Action)
	}
	if body.Type != "custom" {
		return nil, refused("invalid type %q (can only add \"custom\" notices)", body.Type)
	}
	domain, path, _ := strings.Cut(body.Key, "/")
	if path == "" || !strings.Contains(domain, ".") {
		return nil, refused(
			"invalid key %q (must be in \"example.com/path\" format)", body.Key)
	}
	again, err := parseDuration(body.RepeatAfter)
	if err != nil {
		return nil, refused("invalid repeat-after: %v", err)
	}
	user, err := d.noticeUser(r)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	added := d.notices.add("custom", body.Key, user, body.Data, again)
	return map[string]string{"id": added.id}, nil
}

func (d *daemon) showNotice(_ http.ResponseWriter, r *http.Request) (any, error) {
	user, err := d.noticeUser(r)
	level := d.level(r)
	d.mu.Lock()
	defer d.mu.Unlock()
	found := d.notices.get(r.PathValue("id"))
	switch {
	case found == nil:
		return nil, notFound("cannot find notice with ID %q", r.PathValue("id"))
	case found.user == everybody:
	case err != nil:
		return nil, err
	case found.user != user && level != admin:
		return nil, &apiError{
			fmt.Sprintf("not allowed to access notice with id %q", found.id), 403, ""}
	}
	return found.json(), nil
}

// Identities -----------------------------------------------------------------------------------

func (d *daemon) listIdentities(http.ResponseWriter, *http.Request) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.identities.shown(), nil
}

func (d *daemon) changeIdentities(_ http.ResponseWriter, r *http.Request) (any, error) {
	var body struct {
		Action     string
		Identities map[string]*identity
	}
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return nil, d.identities.change(body.Action, body.Identities)
}
