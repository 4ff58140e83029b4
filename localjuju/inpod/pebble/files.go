package pebble

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"strconv"
	"syscall"
)

const generic = "generic-file-error"

// fileRefused is about one file of a request, which the others do not mind.
func fileRefused(format string, values ...any) *apiError {
	return &apiError{fmt.Sprintf(format, values...), 400, generic}
}

type fileError struct {
	Message string `json:"message"`
	Kind    string `json:"kind"`
}

// fileResult is what became of one file.
type fileResult struct {
	Path  string     `json:"path"`
	Error *fileError `json:"error,omitempty"`
}

func fileResultOf(path string, err error) fileResult {
	if err == nil {
		return fileResult{Path: path}
	}
	return fileResult{path, &fileError{err.Error(), fileErrorKind(err)}}
}

func fileErrorKind(err error) string {
	var known *apiError
	switch {
	case errors.As(err, &known) && known.kind != "":
		return known.kind
	case errors.Is(err, fs.ErrNotExist):
		return "not-found"
	case errors.Is(err, fs.ErrPermission):
		return "permission-denied"
	}
	return generic
}

// fileSpec is what a request says of a file or folder.
type fileSpec struct {
	Path        string `json:"path"`
	Permissions string `json:"permissions"`
	UserID      *int   `json:"user-id"`
	User        string `json:"user"`
	GroupID     *int   `json:"group-id"`
	Group       string `json:"group"`
	MakeDirs    bool   `json:"make-dirs"`
	MakeParents bool   `json:"make-parents"`
	Recursive   bool   `json:"recursive"`
}

// owner is whom a new file is given to; nil for the daemon's own.
func (s *fileSpec) owner() (*account, error) {
	who, err := findAccount(s.UserID, s.User, s.GroupID, s.Group)
	if err != nil {
		// Charms' libraries know the error by these words.
		return nil, fileRefused("cannot look up user and group: %v", err)
	}
	return who, nil
}

func (s *fileSpec) mode(usual os.FileMode) (os.FileMode, error) {
	if s.Permissions == "" {
		return usual, nil
	}
	mode, err := strconv.ParseUint(s.Permissions, 8, 32)
	if err != nil || len(s.Permissions) != 3 {
		return 0, fileRefused("permissions must be a 3-digit octal string, got %q", s.Permissions)
	}
	return os.FileMode(mode), nil
}

func checkAbsolute(name string) error {
	if !path.IsAbs(name) {
		return fileRefused("paths must be absolute, got %q", name)
	}
	return nil
}

func openFile(name string) (*os.File, error) {
	if err := checkAbsolute(name); err != nil {
		return nil, err
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fileRefused("can only read a regular file: %q", name)
	}
	return os.Open(name)
}

type fileInfo struct {
	Path         string `json:"path"`
	Name         string `json:"name"`
	Type         string `json:"type"`
	Size         *int64 `json:"size,omitempty"`
	Permissions  string `json:"permissions"`
	LastModified string `json:"last-modified"`
	UserID       *int   `json:"user-id"`
	User         string `json:"user"`
	GroupID      *int   `json:"group-id"`
	Group        string `json:"group"`
}

// listFiles gives the entries of a folder that match, or the path itself.
func listFiles(name, pattern string, itself bool) ([]fileInfo, error) {
	if err := checkAbsolute(name); err != nil {
		return nil, err
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	found := []fileInfo{}
	add := func(name string, info fs.FileInfo) error {
		if pattern != "" {
			if fits, err := path.Match(pattern, path.Base(name)); !fits {
				return err
			}
		}
		found = append(found, describeFile(name, info))
		return nil
	}
	if itself || !info.IsDir() {
		err := add(path.Clean(name), info)
		return found, err
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	for _, each := range entries {
		info, err := each.Info()
		if errors.Is(err, fs.ErrNotExist) { // gone meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := add(path.Join(name, each.Name()), info); err != nil {
			return nil, fileRefused("%v: %q", err, pattern)
		}
	}
	return found, nil
}

func fileType(mode os.FileMode) string {
	switch {
	case mode.IsRegular():
		return "file"
	case mode.IsDir():
		return "directory"
	case mode&os.ModeSymlink != 0:
		return "symlink"
	case mode&os.ModeSocket != 0:
		return "socket"
	case mode&os.ModeNamedPipe != 0:
		return "named-pipe"
	case mode&os.ModeDevice != 0:
		return "device"
	}
	return "unknown"
}

func describeFile(name string, info fs.FileInfo) fileInfo {
	mode := info.Mode()
	found := fileInfo{
		Path: name, Name: path.Base(name), Type: fileType(mode),
		LastModified: stamp(info.ModTime()),
	}
	if status, known := info.Sys().(*syscall.Stat_t); known {
		uid, gid := int(status.Uid), int(status.Gid)
		found.Permissions = fmt.Sprintf("%03o", status.Mode&0o7777)
		found.UserID, found.GroupID = &uid, &gid
		if entry, err := user.LookupId(strconv.Itoa(uid)); err == nil {
			found.User = entry.Username
		}
		if entry, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
			found.Group = entry.Name
		}
	}
	if mode.IsRegular() {
		size := info.Size()
		found.Size = &size
	}
	return found
}

// writeFile writes a file at once: it has the old content or all of the new.
func writeFile(spec *fileSpec, from io.Reader) (err error) {
	if err := checkAbsolute(spec.Path); err != nil {
		return err
	}
	mode, err := spec.mode(0o644)
	if err != nil {
		return err
	}
	who, err := spec.owner()
	if err != nil {
		return err
	}
	if spec.MakeDirs {
		if err := makeParents(spec.Path, who); err != nil {
			return &apiError{"cannot create directory: " + err.Error(), 400, fileErrorKind(err)}
		}
	}
	target := spec.Path
	// Written through a link, as the upstream daemon does not replace the link itself.
	if info, err := os.Lstat(target); err == nil && info.Mode()&os.ModeSymlink != 0 {
		target = resolved(target)
	}
	scratch := target + "." + rand.Text()[:12] + "~"
	output, err := os.OpenFile(scratch, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			output.Close()
			os.Remove(scratch)
		}
	}()
	if who != nil {
		if err := output.Chown(who.uid, who.gid); err != nil {
			return err
		}
	}
	if err := output.Chmod(mode); err != nil {
		return err
	}
	if _, err := io.Copy(output, from); err != nil {
		return err
	}
	if err := output.Close(); err != nil {
		return err
	}
	return os.Rename(scratch, target)
}

// resolved follows links, also where the last one leads to nothing yet.
func resolved(name string) string {
	for range 40 { // as many as the kernel follows
		next, err := os.Readlink(name)
		if err != nil {
			break
		}
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(name), next)
		}
		name = next
	}
	return name
}

// makeParents makes the folders above a path that are missing.
func makeParents(name string, who *account) error {
	parent := path.Dir(path.Clean(name))
	info, err := os.Stat(parent)
	if err == nil && !info.IsDir() || errors.Is(err, syscall.ENOTDIR) {
		if err == nil {
			return &fs.PathError{Op: "mkdir", Path: parent, Err: syscall.ENOTDIR}
		}
		return makeParents(parent, who)
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeParents(parent, who); err != nil {
		return err
	}
	return makeOne(parent, 0o755, who)
}

func makeOne(name string, mode os.FileMode, who *account) error {
	if err := os.Mkdir(name, mode); err != nil {
		return err
	}
	if err := os.Chmod(name, mode); err != nil {
		return err
	}
	if who == nil {
		return nil
	}
	return os.Chown(name, who.uid, who.gid)
}

func makeFolder(spec *fileSpec) error {
	if err := checkAbsolute(spec.Path); err != nil {
		return err
	}
	mode, err := spec.mode(0o755)
	if err != nil {
		return err
	}
	who, err := spec.owner()
	if err != nil {
		return err
	}
	if spec.MakeParents {
		if info, err := os.Stat(spec.Path); err == nil && info.IsDir() {
			return nil
		}
		if err := makeParents(spec.Path, who); err != nil {
			return err
		}
	}
	return makeOne(spec.Path, mode, who)
}

func removeFile(spec *fileSpec) error {
	if err := checkAbsolute(spec.Path); err != nil {
		return err
	}
	if spec.Recursive {
		return os.RemoveAll(spec.Path)
	}
	return os.Remove(spec.Path)
}
