// Package pebble is the Pebble of workload containers: it runs their services and answers the API
// that charms use. Contract: docs/specs/openapi.yaml and docs/reference of canonical/pebble.
package pebble

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"gopkg.in/yaml.v3"
)

// Run is `pebble run …`; it gives the exit code.
func Run(arguments []string) int {
	flags := flag.NewFlagSet("pebble run", flag.ContinueOnError)
	createDirs := flags.Bool("create-dirs", false, "make $PEBBLE if it is missing")
	hold := flags.Bool("hold", false, "do not start services by itself")
	address := flags.String("http", "", "serve there too, at [ADDRESS]:PORT: health, and metrics")
	verbose := flags.Bool("verbose", false, "print what services print")
	given := flags.String("identities", "", "file with identities to begin with")
	if len(arguments) == 0 || arguments[0] != "run" {
		fmt.Fprintln(os.Stderr, "usage: pebble run [options]")
		flags.PrintDefaults()
		return 2
	}
	if err := flags.Parse(arguments[1:]); err != nil {
		return 2
	}
	folder := os.Getenv("PEBBLE")
	if folder == "" {
		folder = "/var/lib/pebble/default"
	}
	socket := os.Getenv("PEBBLE_SOCKET")
	if socket == "" {
		socket = filepath.Join(folder, ".pebble.socket")
	}
	code, err := run(folder, socket, *address, *given, *createDirs, *hold, *verbose)
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		return 1
	}
	return code
}

func run(folder, socket, address, given string, createDirs, hold, verbose bool) (int, error) {
	if err := prepare(folder, createDirs); err != nil {
		return 0, err
	}
	d, err := newDaemon(folder, verbose)
	if err != nil {
		return 0, err
	}
	if given != "" {
		if err := d.giveIdentities(given); err != nil {
			return 0, err
		}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	// Who read our output has gone: that is no reason to end. Ignored, it would be in services.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if err := d.readLayers(); err != nil {
		return 0, err
	}
	stop, err := d.serve(socket, address)
	if err == nil && !hold {
		err = d.autostart()
	}
	if err == nil {
		select {
		case <-signals:
			d.mu.Lock()
			d.end(0)
			d.mu.Unlock()
		case <-d.ended:
		}
	}
	d.finish()
	if stop != nil {
		stop()
	}
	return d.exitCode, err
}

// prepare makes the daemon's folder, and fills an empty one from $PEBBLE_COPY_ONCE.
func prepare(folder string, createDirs bool) error {
	if createDirs {
		if err := os.MkdirAll(filepath.Join(folder, "layers"), 0o755); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(folder)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("directory %q does not exist: --create-dirs makes it", folder)
	}
	if err != nil {
		return err
	}
	once := os.Getenv("PEBBLE_COPY_ONCE")
	if info, err := os.Stat(once); err != nil || !info.IsDir() || len(entries) > 0 {
		return nil
	}
	return os.CopyFS(folder, os.DirFS(once))
}

// giveIdentities takes those of a file, which replace others of their names.
func (d *daemon) giveIdentities(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var found struct{ Identities map[string]*identity }
	if err := yaml.Unmarshal(text, &found); err != nil {
		return fmt.Errorf("cannot read identities: %s", oneLine(err))
	}
	return d.identities.change("replace", found.Identities)
}
