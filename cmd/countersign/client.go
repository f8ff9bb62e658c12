package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// remote are the flags of commands that act on a running server.
type remote struct {
	URL   string `help:"Address of the server." default:"http://127.0.0.1:8080" env:"COUNTERSIGN_URL"`
	Token string `help:"Session token; by default the one of login." env:"COUNTERSIGN_TOKEN"`
	JSON  bool   `help:"Print JSON." name:"json"`
}

// A client speaks to a server as a signed-in person.
type client struct {
	env   *env
	base  string
	token string
	http  *http.Client
}

func (r *remote) client(e *env) (*client, error) {
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usagef("--url: %q is no http(s) address", r.URL)
	}
	c := &client{env: e, base: strings.TrimRight(r.URL, "/"), token: r.Token, http: &http.Client{Timeout: 60 * time.Second}}
	if c.token == "" {
		tokens, err := readTokens(e)
		if err != nil {
			return nil, err
		}
		if c.token = tokens[c.base]; c.token == "" {
			return nil, notSignedIn(c.base)
		}
	}
	return c, nil
}

func notSignedIn(base string) error {
	return fmt.Errorf("not signed in at %s: run `countersign login --url %s`", base, base)
}

// post sends JSON and decodes the answer; a refusal is its message and code.
func (c *client) post(path string, body, answer any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(c.env.ctx, http.MethodPost, c.base+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("no answer from %s: %w", c.base, errors.Unwrap(err))
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return err
	}
	if res.StatusCode == http.StatusUnauthorized {
		return notSignedIn(c.base)
	}
	if res.StatusCode >= 300 {
		var refusal struct {
			Error struct{ Code, Message string }
		}
		if json.Unmarshal(data, &refusal) == nil && refusal.Error.Message != "" {
			return &remoteError{code: refusal.Error.Code, message: refusal.Error.Message}
		}
		return fmt.Errorf("%s answered %s", c.base, res.Status)
	}
	return json.Unmarshal(data, answer)
}

// A remoteError is a coded refusal of the server.
type remoteError struct{ code, message string }

// Error is the message with its code.
func (r *remoteError) Error() string { return r.message + " (" + r.code + ")" }

// graph runs an operation and decodes data into answer.
func (c *client) graph(query string, variables map[string]any, answer any) error {
	var res struct {
		Data   json.RawMessage
		Errors []struct {
			Message    string
			Extensions struct{ Code string }
		}
	}
	if err := c.post("/graphql", map[string]any{"query": query, "variables": variables}, &res); err != nil {
		return err
	}
	if len(res.Errors) > 0 {
		first := res.Errors[0]
		return &remoteError{code: first.Extensions.Code, message: first.Message}
	}
	return json.Unmarshal(res.Data, answer)
}

// tokensFile is where login keeps session tokens, by address of the server.
func tokensFile(e *env) (string, error) {
	if dir := e.getenv("COUNTERSIGN_CONFIG_DIR"); dir != "" {
		return filepath.Join(dir, "tokens.json"), nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "countersign", "tokens.json"), nil
}

func readTokens(e *env) (map[string]string, error) {
	file, err := tokensFile(e)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, err
	}
	tokens := map[string]string{}
	if err := json.Unmarshal(data, &tokens); err != nil {
		return nil, fmt.Errorf("%s cannot be read; remove it and sign in again", file)
	}
	return tokens, nil
}

func writeToken(e *env, base, token string) error {
	tokens, err := readTokens(e)
	if err != nil {
		return err
	}
	tokens[base] = token
	file, err := tokensFile(e)
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(tokens, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(file, data, 0o600)
}

// writeFile replaces a file as a whole: a crash, of the machine too, leaves the
// old or the new one.
func writeFile(file string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
