package pebble

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Who may ask for what. Source: docs/reference/identities.md and
// docs/explanation/api-and-clients.md of canonical/pebble.

// levels of access; what a request needs is one of them, too, or open.
const (
	admin     = "admin"
	read      = "read"
	metrics   = "metrics"
	untrusted = "untrusted"
	open      = "open"
)

const quotedLevels = `"admin", "read", "metrics", or "untrusted"`

var identityName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]*$`)

// allowed tells whether one of a level, "" where nobody knows who asks, may ask for it. The port
// is in clear text: there a password is for metrics only.
func allowed(level, need string, local bool) bool {
	switch {
	case need == open:
		return true
	case !local:
		return need == metrics && level == metrics
	case need == metrics && level == metrics, need != admin && level == read:
		return true
	}
	return level == admin
}

type localIdentity struct {
	UserID *int `json:"user-id" yaml:"user-id"`
}

type basicIdentity struct {
	Password string `json:"password" yaml:"password"`
}

// identity is one that may ask: known by the user id of the process at the other end of the
// socket, by a password, or by either.
type identity struct {
	Access string         `json:"access" yaml:"access"`
	Local  *localIdentity `json:"local,omitempty" yaml:"local"`
	Basic  *basicIdentity `json:"basic,omitempty" yaml:"basic"` // the password's hash
}

func (i *identity) check() error {
	unreadable := func(format string, values ...any) error {
		return refused("cannot decode request body: "+format, values...)
	}
	switch {
	case i.Local != nil && (i.Local.UserID == nil || *i.Local.UserID < 0):
		return unreadable("local identity must specify user-id")
	case i.Access == "":
		return unreadable("access value must be specified (%s)", quotedLevels)
	case !slices.Contains([]string{admin, read, metrics, untrusted}, i.Access):
		return unreadable("invalid access value %q, must be %s", i.Access, quotedLevels)
	case i.Basic != nil && i.Basic.Password == "":
		return unreadable("basic identity must specify password (hashed)")
	case i.Local == nil && i.Basic == nil:
		return unreadable(`identity must have at least one type ("local" or "basic")`)
	}
	return nil
}

// identities are kept in a file.
type identities struct {
	file string
	all  map[string]*identity
}

func readIdentities(file string) (*identities, error) {
	found := &identities{file: file, all: map[string]*identity{}}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &found.all)
	}
	return found, err
}

// change adds, updates, replaces or removes those that are given; one that is to go is nil. With
// an error nothing has changed.
func (i *identities) change(action string, given map[string]*identity) error {
	if !slices.Contains([]string{"add", "update", "replace", "remove"}, action) {
		return refused(
			`invalid action %q, must be "add", "update", "replace", or "remove"`, action)
	}
	var taken, missing []string
	merged := maps.Clone(i.all)
	for _, name := range sortedKeys(given) {
		each := given[name]
		if action != "replace" && (each == nil) != (action == "remove") {
			word := "not be"
			if action == "remove" {
				word = "be"
			}
			return refused("identity value for %q must %s null for %s operation", name, word, action)
		}
		if i.all[name] != nil {
			taken = append(taken, name)
		} else {
			missing = append(missing, name)
		}
		if each == nil {
			delete(merged, name)
			continue
		}
		if err := each.check(); err != nil {
			return err
		}
		if !identityName.MatchString(name) {
			return refused("identity %q invalid: identity name %q invalid: must start with an "+
				"alphabetic character and only contain alphanumeric characters, underscore, and "+
				"hyphen", name, name)
		}
		merged[name] = each
	}
	if action == "add" && taken != nil {
		return refused("identities already exist: %s", strings.Join(taken, ", "))
	}
	if (action == "update" || action == "remove") && missing != nil {
		return refused("identities do not exist: %s", strings.Join(missing, ", "))
	}
	return i.take(merged)
}

func (i *identities) take(merged map[string]*identity) error {
	names := map[int][]string{}
	for _, name := range sortedKeys(merged) {
		if local := merged[name].Local; local != nil {
			names[*local.UserID] = append(names[*local.UserID], name)
		}
	}
	for _, user := range sortedKeys(names) {
		if len(names[user]) > 1 {
			return refused("cannot have multiple identities with user ID %d (%s)",
				user, strings.Join(names[user], ", "))
		}
	}
	text, err := json.Marshal(merged)
	if err != nil {
		return err
	}
	scratch := strings.TrimSuffix(i.file, filepath.Ext(i.file)) + ".new"
	if err := os.WriteFile(scratch, text, 0o600); err != nil {
		return err
	}
	if err := os.Rename(scratch, i.file); err != nil {
		return fmt.Errorf("cannot keep identities: %w", err)
	}
	i.all = merged
	return nil
}

// shown are they without the passwords' hashes.
func (i *identities) shown() map[string]identity {
	found := map[string]identity{}
	for name, each := range i.all {
		one := *each
		if one.Basic != nil {
			one.Basic = &basicIdentity{"*****"}
		}
		found[name] = one
	}
	return found
}

// nobody is the user id of one who asks at the port.
const nobody = -1

// login is name and password of basic authentication; nil where both are empty.
type login struct{ name, password string }

// level gives the access of one who asks, "" where nobody knows who it is. A login counts before
// the user id.
func (i *identities) level(user int, with *login) string {
	if with != nil {
		if known := i.byPassword(with); known != nil {
			return known.Access
		}
	} else if user != nobody {
		for _, each := range i.all {
			if each.Local != nil && *each.Local.UserID == user {
				return each.Access
			}
		}
	}
	switch user {
	case nobody:
		return ""
	case 0, os.Getuid():
		return admin
	}
	return read
}

// byPassword finds whose name and password it is, nil for nobody's.
func (i *identities) byPassword(with *login) *identity {
	if with == nil {
		return nil
	}
	known := i.all[with.name]
	if known == nil || known.Basic == nil || !fitsPassword(with.password, known.Basic.Password) {
		return nil
	}
	return known
}
