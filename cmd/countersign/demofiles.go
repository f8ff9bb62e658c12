package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/examples/demo"
	"github.com/countersign/countersign/examples/desk"
	"github.com/countersign/countersign/graph/catalog"
)

// madeName is the record of the demo's configuration as this program made it:
// the digest of each file. By it the next version knows which files nobody
// edited.
const madeName = ".made.json"

// configure makes the configuration where it is not there yet, and makes it anew
// where another version of the program made it and nobody edited it since.
func (r *demoRun) configure() error {
	files, err := r.configFiles()
	if err != nil {
		return err
	}
	if absent(filepath.Join(r.files, configName)) {
		return r.writeConfig(files)
	}
	made, err := r.made()
	if err != nil || made == nil {
		return err
	}
	current := true
	for name, data := range files {
		current = current && made[name] == digestOf(data)
	}
	if current || len(r.edited(made)) > 0 {
		return nil
	}
	fmt.Fprintln(r.env.stderr, "demo: making the configuration anew, as this version has it …")
	// A start that ends halfway is begun again by the next one.
	if err := os.Remove(filepath.Join(r.files, configName)); err != nil {
		return err
	}
	return r.writeConfig(files)
}

// outdated says what to do about a configuration that is refused.
func (r *demoRun) outdated() error {
	made, err := r.made()
	file := filepath.Join(r.files, configName)
	switch {
	case err != nil:
		return err
	case made == nil:
		return fmt.Errorf("the demo's configuration was made by an older version; delete %s, and the demo makes the files beside it anew and keeps its data", file)
	case len(r.edited(made)) > 0:
		return fmt.Errorf("the demo's configuration was edited (%s); mend it, or delete %s, and the demo makes the files beside it anew and keeps its data", r.edited(made)[0], file)
	}
	return errSilent
}

// configFiles are the files of the configuration as a user would write them, but
// for the lock.
func (r *demoRun) configFiles() (map[string][]byte, error) {
	files := map[string][]byte{
		"desk.openapi.json": desk.Document(r.url),
		envName:             []byte("DESK_URL=" + r.url + "\nDESK_TOKEN=" + r.token + "\n"),
	}
	err := fs.WalkDir(demo.Files(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files[name], err = fs.ReadFile(demo.Files(), name)
		return err
	})
	return files, err
}

// writeConfig writes the files, and pins the schemas.
func (r *demoRun) writeConfig(files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if name == configName {
			continue
		}
		mode := fs.FileMode(0o644)
		if name == envName {
			mode = 0o600
		}
		if err := writeFile(filepath.Join(r.files, name), files[name], mode); err != nil {
			return err
		}
	}
	file := filepath.Join(r.files, configName)
	cfg, problems := config.Parse(file, files[configName], func(name string) (string, bool) {
		v, ok := map[string]string{"DESK_URL": r.url, "DESK_TOKEN": r.token}[name]
		return v, ok
	})
	if printProblems(r.env.stderr, problems) {
		return errSilent
	}
	lock := &catalog.Lock{Sources: map[string]*catalog.PinnedSource{}}
	for _, name := range cfg.Sources.Names {
		schema, err := describeSource(r.env.ctx, cfg, name, cfg.Sources.Values[name])
		if err != nil {
			return fmt.Errorf("describing %s: %w", name, err)
		}
		lock.Sources[name] = &catalog.PinnedSource{Schema: schema}
	}
	if err := writeLock(cfg, filepath.Join(r.files, lockName), lock); err != nil {
		return err
	}
	made := map[string]string{}
	for name, data := range files {
		made[name] = digestOf(data)
	}
	record, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		return err
	}
	// The configuration is last: its presence says that all is there.
	if err := writeFile(filepath.Join(r.files, madeName), append(record, '\n'), 0o644); err != nil {
		return err
	}
	return writeFile(file, files[configName], 0o644)
}

// made reads the record; nil where an older version made the files.
func (r *demoRun) made() (map[string]string, error) {
	file := filepath.Join(r.files, madeName)
	if absent(file) {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var made map[string]string
	if err := json.Unmarshal(data, &made); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return made, nil
}

// edited lists the files that are not what the record says, in order.
func (r *demoRun) edited(made map[string]string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(made)) {
		data, err := os.ReadFile(filepath.Join(r.files, name))
		if err != nil || digestOf(data) != made[name] {
			out = append(out, name)
		}
	}
	return out
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
