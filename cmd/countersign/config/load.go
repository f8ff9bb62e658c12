package config

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"
)

// Load reads a configuration file and the .env beside it. Variables of the
// environment win over those of .env. The Config is usable only when no
// problem is more than a warning.
func Load(file string) (*Config, []Problem) {
	return load(file, "")
}

// unset stands for what the environment does not have: an address of nothing,
// long enough for a secret.
const unset = "http://unset.invalid/00000000000000000000000000000000"

// LoadOffline is Load for what contacts nothing: variables and files of secrets
// that are not there are no problem.
func LoadOffline(file string) (*Config, []Problem) {
	return load(file, unset)
}

func load(file, unset string) (*Config, []Problem) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, []Problem{{File: file, Code: "unreadable", Message: plainPathError(err)}}
	}
	dir := filepath.Dir(file)
	env, problems := readEnv(filepath.Join(dir, ".env"))
	lookup := func(name string) (string, bool) {
		if v, ok := os.LookupEnv(name); ok {
			return v, true
		}
		v, ok := env[name]
		return v, ok
	}
	cfg, more := parse(&decoder{file: file, lookup: lookup, readFile: os.ReadFile, unset: unset}, data)
	return cfg, append(problems, more...)
}

func plainPathError(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// Parse reads a configuration from its text. lookup answers variables.
func Parse(file string, data []byte, lookup func(string) (string, bool)) (*Config, []Problem) {
	return parse(&decoder{file: file, lookup: lookup, readFile: os.ReadFile}, data)
}

func parse(d *decoder, data []byte) (*Config, []Problem) {
	file := d.file
	d.lines = map[string]int{}
	cfg := defaults()
	cfg.File, cfg.Dir, cfg.expand = file, filepath.Dir(file), d.expand
	parsed, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, []Problem{syntaxProblem(file, err)}
	}
	if len(parsed.Docs) != 1 || parsed.Docs[0].Body == nil {
		return nil, []Problem{{File: file, Line: 1, Code: "bad_value", Message: "the file must hold one YAML document"}}
	}
	d.value(parsed.Docs[0].Body, reflect.ValueOf(&cfg).Elem(), "")
	cfg.LiteralSecrets, cfg.Lines = d.secrets, d.lines
	problems := append(d.problems, cfg.validate()...)
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), strings.Compare(a.Message, b.Message))
	})
	return &cfg, problems
}

var yamlPosition = regexp.MustCompile(`^\[(\d+):(\d+)\] ([^\n]*)`)

func syntaxProblem(file string, err error) Problem {
	p := Problem{File: file, Code: "syntax", Message: yaml.FormatError(err, false, false)}
	if m := yamlPosition.FindStringSubmatch(p.Message); m != nil {
		fmt.Sscan(m[1], &p.Line)
		fmt.Sscan(m[2], &p.Column)
		p.Message = m[3]
	}
	return p
}

// readEnv reads NAME=value lines; quotes around a value are taken off.
func readEnv(path string) (map[string]string, []Problem) {
	f, err := os.Open(path)
	if err != nil {
		if os.IsNotExist(err) {
			return nil, nil
		}
		return nil, []Problem{{File: path, Code: "unreadable", Message: plainPathError(err)}}
	}
	defer f.Close()
	var problems []Problem
	if info, err := f.Stat(); err == nil && info.Mode().Perm()&0o077 != 0 {
		problems = append(problems, Problem{File: path, Code: "file_mode", Warning: true,
			Message: "others on this machine can read it", Hint: "chmod 600 " + filepath.Base(path)})
	}
	env := map[string]string{}
	scanner := bufio.NewScanner(f)
	for line := 1; scanner.Scan(); line++ {
		text := strings.TrimSpace(scanner.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(text, "export "), "=")
		if !ok || !envPattern.MatchString(strings.TrimSpace(name)) {
			problems = append(problems, Problem{File: path, Line: line, Code: "syntax", Message: "not NAME=value"})
			continue
		}
		value = strings.TrimSpace(value)
		if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
			value = value[1 : len(value)-1]
		}
		env[strings.TrimSpace(name)] = value
	}
	if err := scanner.Err(); err != nil {
		problems = append(problems, Problem{File: path, Code: "unreadable", Message: err.Error()})
	}
	return env, problems
}

var (
	envPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	variable   = regexp.MustCompile(`\$\$\{|\$\{([^}]*)\}?`)
)

// expand replaces ${NAME}, ${NAME:-default} and ${file:PATH}, once. secret
// tells that something was replaced.
func (d *decoder) expand(text string) (out string, secret bool, err error) {
	out = variable.ReplaceAllStringFunc(text, func(m string) string {
		if m == "$${" {
			return "${"
		}
		secret = true
		inner, closed := strings.CutSuffix(m[2:], "}")
		if !closed {
			err = errors.Join(err, fmt.Errorf("%q is not closed by }", m))
			return ""
		}
		if path, ok := strings.CutPrefix(inner, "file:"); ok {
			data, readErr := d.readFile(path)
			if readErr != nil && d.unset != "" {
				return d.unset
			}
			if readErr != nil {
				err = errors.Join(err, fmt.Errorf("${file:%s}: %s", path, plainPathError(readErr)))
			}
			return strings.TrimRight(string(data), "\r\n")
		}
		name, fallback, hasDefault := strings.Cut(inner, ":-")
		if !envPattern.MatchString(name) {
			err = errors.Join(err, fmt.Errorf("%q names no variable", m))
			return ""
		}
		if v, ok := d.lookup(name); ok {
			return v
		}
		if !hasDefault && d.unset != "" {
			return d.unset
		}
		if !hasDefault {
			err = errors.Join(err, fmt.Errorf("${%s} is not set; set it in the environment or in .env, or write ${%s:-default}", name, name))
		}
		return fallback
	})
	return out, secret, err
}

// Expand replaces ${...} in a text of another file as it is done in this one.
// Errors name what is not set.
func (c *Config) Expand(text string) (string, error) {
	if c.expand == nil {
		return "", errors.New("${...} has no value here")
	}
	out, _, err := c.expand(text)
	return out, err
}

var (
	secretKey   = regexp.MustCompile(`(?i)(^|\.)(secret|password|bearer|clientSecret)(\[\d+\])?$|\.apiKey\.value$`)
	secretValue = regexp.MustCompile(`^(sk_|rk_|xox[abp]-|ghp_|glpat-|cs_|css_)[A-Za-z0-9_-]{8,}`)
)

// looksSecret tells whether a literal is a secret: by its key, by its form, or
// a URL with a password.
func looksSecret(path, value string) bool {
	if value == "" {
		return false
	}
	if secretKey.MatchString(path) || secretValue.MatchString(value) {
		return true
	}
	if u, err := url.Parse(value); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			return true
		}
	}
	return false
}

func envName(path string) string {
	parts := strings.FieldsFunc(path, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9')
	})
	if len(parts) > 2 {
		parts = parts[len(parts)-2:]
	}
	return strings.ToUpper(strings.Join(parts, "_"))
}
