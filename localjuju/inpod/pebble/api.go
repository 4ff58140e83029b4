package pebble

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"

	"golang.org/x/sys/unix"
)

const unreadBytes = 1 << 20

// handler gives the result of an answer, or one of the types below.
type handler func(w http.ResponseWriter, r *http.Request) (any, error)

// accepted is the answer to what goes on as a change.
type accepted struct {
	change string
	result any
}

// withStatus is a result with another status than 200.
type withStatus struct {
	status int
	result any
}

// written says that the handler has answered by itself.
var written = new(int)

type envelope struct {
	Type       string `json:"type"`
	StatusCode int    `json:"status-code"`
	Status     string `json:"status"`
	Change     string `json:"change,omitempty"`
	Result     any    `json:"result"`
}

type errorResult struct {
	Message string `json:"message"`
	Kind    string `json:"kind,omitempty"`
}

func answer(w http.ResponseWriter, kind string, status int, change string, result any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(envelope{kind, status, http.StatusText(status), change, result})
}

// answerError reads what the client still sends, within reason: it could not see the answer when
// the connection were closed while it writes.
func answerError(w http.ResponseWriter, r *http.Request, err error) {
	_, _ = io.CopyN(io.Discard, r.Body, unreadBytes)
	known := asAPIError(err)
	answer(w, "error", known.status, "", errorResult{known.message, known.kind})
}

// route is what may be asked for, and the access that it needs.
type route struct {
	method, path, need string
	handle             handler
}

func (d *daemon) routes() []route {
	return []route{
		{"GET", "/v1/system-info", open, d.systemInfo},
		{"GET", "/v1/health", open, d.health},
		{"GET", "/v1/services", read, d.listServices},
		{"POST", "/v1/services", admin, d.changeServices},
		{"GET", "/v1/plan", read, d.showPlan},
		{"POST", "/v1/layers", admin, d.postLayer},
		{"GET", "/v1/changes", read, d.listChanges},
		{"GET", "/v1/changes/{id}", read, d.showChange},
		{"POST", "/v1/changes/{id}", admin, d.abortChange},
		{"GET", "/v1/changes/{id}/wait", read, d.waitChange},
		{"GET", "/v1/files", admin, d.readFiles}, // they may hold secrets
		{"POST", "/v1/files", admin, d.writeFiles},
		{"POST", "/v1/exec", admin, d.exec},
		{"GET", "/v1/tasks/{task}/websocket/{name}", admin, d.connectExec},
		{"POST", "/v1/signals", admin, d.sendSignals},
		{"GET", "/v1/logs", read, d.readLogs},
		{"GET", "/v1/checks", read, d.listChecks},
		{"POST", "/v1/checks", admin, d.changeChecks},
		{"POST", "/v1/checks/refresh", admin, d.refreshCheck},
		{"GET", "/v1/notices", read, d.listNotices},
		{"POST", "/v1/notices", read, d.addNotice},
		{"GET", "/v1/notices/{id}", read, d.showNotice},
		{"GET", "/v1/warnings", read, func(http.ResponseWriter, *http.Request) (any, error) {
			return []string{}, nil
		}},
		{"POST", "/v1/warnings", admin, func(http.ResponseWriter, *http.Request) (any, error) {
			return 0, nil
		}},
		{"GET", "/v1/identities", read, d.listIdentities},
		{"POST", "/v1/identities", admin, d.changeIdentities},
		{"GET", "/v1/metrics", metrics, d.showMetrics},
	}
}

// api serves the Unix socket and the port.
func (d *daemon) api() http.Handler {
	methods := map[string]map[string]route{}
	for _, each := range d.routes() {
		if methods[each.path] == nil {
			methods[each.path] = map[string]route{}
		}
		methods[each.path][each.method] = each
	}
	mux := http.NewServeMux()
	for path, known := range methods {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			each, found := known[r.Method]
			if !found {
				answerError(w, r, &apiError{"method \"" + r.Method + "\" not allowed", 405, ""})
				return
			}
			d.dispatch(each, w, r)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answerError(w, r, &apiError{"invalid API endpoint requested", 404, ""})
	})
	return mux
}

func (d *daemon) dispatch(what route, w http.ResponseWriter, r *http.Request) {
	if what.need != open && !allowed(d.level(r), what.need, userOf(r) != nobody) {
		answerError(w, r, &apiError{"access denied", 401, "login-required"})
		return
	}
	result, err := what.handle(w, r)
	if err != nil {
		answerError(w, r, err)
		return
	}
	switch known := result.(type) {
	case accepted:
		answer(w, "async", http.StatusAccepted, known.change, known.result)
	case withStatus:
		answer(w, "sync", known.status, "", known.result)
	default:
		if result != any(written) {
			answer(w, "sync", http.StatusOK, "", result)
		}
	}
}

type userKey struct{}

// withUser notes the client's user id: from the socket, so that nobody can say another.
func withUser(ctx context.Context, connection net.Conn) context.Context {
	user := nobody
	if local, is := connection.(*net.UnixConn); is {
		if raw, err := local.SyscallConn(); err == nil {
			_ = raw.Control(func(descriptor uintptr) {
				other, err := unix.GetsockoptUcred(int(descriptor), unix.SOL_SOCKET, unix.SO_PEERCRED)
				if err == nil {
					user = int(other.Uid)
				}
			})
		}
	}
	return context.WithValue(ctx, userKey{}, user)
}

func userOf(r *http.Request) int {
	if user, known := r.Context().Value(userKey{}).(int); known {
		return user
	}
	return nobody
}

func loginOf(r *http.Request) *login {
	name, password, given := r.BasicAuth()
	if !given || name == "" && password == "" {
		return nil
	}
	return &login{name, password}
}

func (d *daemon) level(r *http.Request) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.identities.level(userOf(r), loginOf(r))
}

// decode reads a request's body.
func decode(r *http.Request, into any) error {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return refused("cannot decode request body: %v", err)
	}
	return nil
}

// many are a query parameter's values, given several times or with commas.
func many(r *http.Request, name string) []string {
	return strings.FieldsFunc(
		strings.Join(r.URL.Query()[name], ","), func(letter rune) bool { return letter == ',' })
}
