package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// An olderDemo is a demo's folder that a version with another configuration
// made: one that this version refuses.
func olderDemo(t *testing.T) *site {
	t.Helper()
	s := newSite(t, nil)
	s.demo(t).stop(t)
	const record = "config/" + madeName
	made := map[string]string{}
	if err := json.Unmarshal([]byte(s.read(t, record)), &made); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(string) string{
		configName:          func(text string) string { return strings.Replace(text, "keep: ", "comparesBody: true, keep: ", 1) },
		"policy/policy.csv": func(text string) string { return text + "# of an older version\n" },
	} {
		was := s.read(t, "config/"+name)
		is := change(was)
		if is == was {
			t.Fatalf("%s is not changed", name)
		}
		s.write(t, "config/"+name, is)
		made[name] = digestOf([]byte(is))
	}
	data, err := json.Marshal(made)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, record, string(data))
	return s
}

func (s *site) demo(t *testing.T) *node {
	t.Helper()
	n, _ := startDemo(t, s.dir, "--listen", anyPort)
	return n
}

// TestDemoOfAnOlderVersion: what the demo made and nobody edited is made anew,
// and the data stays; what somebody edited is theirs.
func TestDemoOfAnOlderVersion(t *testing.T) {
	t.Parallel()
	const edit = "# mine\n"
	const sentence = "makes the files beside it anew and keeps its data"
	for name, want := range map[string]struct {
		change func(s *site)
		runs   bool
	}{
		"untouched":     {func(*site) {}, true},
		"edited":        {func(s *site) { s.write(t, "config/graph.graphql", s.read(t, "config/graph.graphql")+edit) }, false},
		"no record":     {func(s *site) { s.remove(t, "config/"+madeName) }, false},
		"started again": {func(s *site) { s.remove(t, "config/"+configName) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := olderDemo(t)
			shop := openForeign(t, "sqlite", s.file("config/shop.db"))
			shop.exec(t, `UPDATE customers SET name = 'Kept' WHERE id = 1`)
			shop.db.Close()
			want.change(s)
			before := s.read(t, "config/policy/policy.csv")
			if !want.runs {
				n := spawn(t, nil, "demo", "--data", s.dir, "--json", "--quiet", "--listen", anyPort)
				if code := n.wait(t); code != exitFailed || !strings.Contains(n.stderr.String(), "comparesBody") || !strings.Contains(n.stderr.String(), sentence) {
					t.Fatalf("it ended with %d and said:\n%s", code, n.stderr)
				}
				if s.read(t, "config/policy/policy.csv") != before {
					t.Error("a file was made anew beside one that somebody edited")
				}
				// It does as it is told.
				s.remove(t, "config/"+configName)
			}
			n := s.demo(t)
			if strings.Contains(s.read(t, "config/policy/policy.csv"), "older") {
				t.Error("the policy is still the older one")
			}
			if got := openForeign(t, "sqlite", s.file("config/shop.db")).value(t, `SELECT name FROM customers WHERE id = 1`); got != "Kept" {
				t.Errorf("the shop's data is gone: %s", got)
			}
			n.stop(t)
			// Once is enough.
			again := s.demo(t)
			if strings.Contains(again.stderr.String(), "anew") {
				t.Errorf("and again:\n%s", again.stderr)
			}
			again.stop(t)
		})
	}
}

// TestDemoEditedConfiguration: an edit that this version accepts is kept.
func TestDemoEditedConfiguration(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.demo(t).stop(t)
	const edit = "# mine\n"
	s.write(t, "config/policy/policy.csv", s.read(t, "config/policy/policy.csv")+edit)
	s.demo(t).stop(t)
	if !strings.HasSuffix(s.read(t, "config/policy/policy.csv"), edit) {
		t.Error("the edit is gone")
	}
}
