package agent

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// What a folder holds, in a file of the folder, so that both are moved into place at once.
const manifestName = ".unpacked.json"

// The last name of a stream; it is not unpacked.
const endName = ".complete"

// presence answers whether a folder holds a version.
type presence struct {
	Present bool `json:"present"`
}

// manifest is of one unpacked tree: what it is, and which of the folder's names it brought.
type manifest struct {
	Version string   `json:"version"`
	Names   []string `json:"names"`
}

// One folder at a time is changed.
var changing sync.Mutex

func holds(folder, version string) bool {
	changing.Lock()
	defer changing.Unlock()
	if err := settle(folder); err != nil {
		return false
	}
	kept := read(folder)
	if kept.Version != version {
		return false
	}
	for _, name := range kept.Names {
		if _, err := os.Lstat(filepath.Join(folder, name)); err != nil {
			return false // what it brought is not all there any more
		}
	}
	return true
}

// install unpacks a tar stream beside a folder and moves it into place, unless the folder holds
// that version. The files become those of the agent's user. What the last tree did not bring stays.
func install(folder, version string, input io.Reader, answers *json.Encoder) error {
	present := holds(folder, version)
	if err := answers.Encode(presence{present}); err != nil || present {
		return err
	}
	changing.Lock()
	defer changing.Unlock()
	fresh := folder + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := os.MkdirAll(fresh, 0o755); err != nil {
		return err
	}
	if err := unpack(fresh, version, input); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	if err := os.Rename(folder, folder+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(fresh, folder); err != nil {
		return err
	}
	if err := settle(folder); err != nil {
		return err
	}
	return answers.Encode(presence{true})
}

// settle takes over what the tree of before did not bring; it also ends what was cut off.
func settle(folder string) error {
	old := folder + ".old"
	entries, err := os.ReadDir(old)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Lstat(folder); errors.Is(err, fs.ErrNotExist) {
		return os.Rename(old, folder)
	}
	brought := map[string]bool{manifestName: true}
	for _, name := range read(old).Names {
		brought[name] = true
	}
	for _, entry := range entries {
		target := filepath.Join(folder, entry.Name())
		if _, err := os.Lstat(target); err == nil || brought[entry.Name()] {
			continue
		}
		if err := os.Rename(filepath.Join(old, entry.Name()), target); err != nil {
			return err
		}
	}
	return os.RemoveAll(old)
}

func read(folder string) manifest {
	var found manifest
	if text, err := os.ReadFile(filepath.Join(folder, manifestName)); err == nil {
		_ = json.Unmarshal(text, &found)
	}
	return found
}

func unpack(folder, version string, input io.Reader) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	archive := tar.NewReader(input)
	for {
		entry, err := archive.Next()
		if err == io.EOF {
			return io.ErrUnexpectedEOF // a tar stream may break off between two files
		}
		if err != nil {
			return err
		}
		if entry.Name == endName {
			break
		}
		if err := place(root, entry, archive); err != nil {
			return fmt.Errorf("cannot unpack %s: %w", entry.Name, err)
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	written := manifest{Version: version}
	for _, entry := range entries {
		written.Names = append(written.Names, entry.Name())
	}
	text, err := json.Marshal(written)
	if err != nil {
		return err
	}
	return root.WriteFile(manifestName, text, 0o644)
}

func place(root *os.Root, entry *tar.Header, content io.Reader) error {
	name, mode := filepath.Clean(entry.Name), entry.FileInfo().Mode().Perm()
	switch entry.Typeflag {
	case tar.TypeDir:
		if err := root.MkdirAll(name, 0o755); err != nil {
			return err
		}
		return root.Chmod(name, mode|0o700)
	case tar.TypeSymlink:
		return root.Symlink(entry.Linkname, name)
	case tar.TypeLink:
		return root.Link(filepath.Clean(entry.Linkname), name)
	case tar.TypeReg:
		file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, content)
		return errors.Join(err, file.Chmod(mode), file.Close())
	}
	return fmt.Errorf("type %q is not supported", entry.Typeflag)
}
