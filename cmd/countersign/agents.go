package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
)

// either are the flags of commands that open the store, or act on a server as a
// person where one is named.
type either struct {
	local `embed:""`
	URL   string `help:"Address of a server to act on, as the person of login, instead of the store in --data."`
	Token string `help:"Session token for --url; by default the one of login." env:"COUNTERSIGN_TOKEN"`
}

// A span is a duration as the configuration writes it.
type span time.Duration

// UnmarshalText reads 90s, 12h or 30d.
func (s *span) UnmarshalText(text []byte) error {
	d, err := config.ParseDuration(string(text))
	*s = span(d)
	return err
}

// server is the client of the server that is named; nil: the store.
func (x *either) server(e *env) (*client, error) {
	if x.URL == "" {
		return nil, nil
	}
	return (&remote{URL: x.URL, Token: x.Token}).client(e)
}

type agentsCmd struct {
	List    agentsList    `cmd:"" help:"List agents."`
	Suspend agentsSuspend `cmd:"" help:"Suspend an agent at once (on a server)."`
	Resume  agentsResume  `cmd:"" help:"Resume a suspended agent (on a server)."`
	Keys    agentsKeys    `cmd:"" help:"The keys of an agent, or of a service (service:NAME)."`
}

type agentsList struct {
	either `embed:""`
}

// Run lists agents.
func (a *agentsList) Run(e *env) error {
	c, err := a.server(e)
	if err != nil {
		return err
	}
	if c != nil {
		return a.remote(e, c)
	}
	return a.with(e, func(ctx context.Context, ids *identity.Service) error {
		agents, err := ids.Agents(ctx, policy.DefaultTenant)
		if err != nil {
			return err
		}
		if a.JSON {
			return printJSON(e.stdout, agents)
		}
		rows := [][]string{{"NAME", "OWNER", "ROLES", "ACTS FOR", "STATE", "PURPOSE"}}
		for _, x := range agents {
			rows = append(rows, []string{x.Name, x.Owner, strings.Join(x.Roles, " "), string(x.ActsFor), stateWord(!x.Suspended, "suspended"), x.Purpose})
		}
		return table(e.stdout, rows)
	})
}

// remote lists those that the person administers or owns.
func (a *agentsList) remote(e *env, c *client) error {
	var res struct {
		Countersign struct {
			Agents []struct {
				Name      string `json:"name"`
				Owner     string `json:"owner"`
				Purpose   string `json:"purpose"`
				Suspended bool   `json:"suspended"`
			}
		}
	}
	if err := c.graph(`{ countersign { agents { name owner purpose suspended } } }`, nil, &res); err != nil {
		return err
	}
	if a.JSON {
		return printJSON(e.stdout, res.Countersign.Agents)
	}
	rows := [][]string{{"NAME", "OWNER", "STATE", "PURPOSE"}}
	for _, x := range res.Countersign.Agents {
		rows = append(rows, []string{x.Name, x.Owner, stateWord(!x.Suspended, "suspended"), x.Purpose})
	}
	return table(e.stdout, rows)
}

func stateWord(active bool, otherwise string) string {
	if active {
		return "active"
	}
	return otherwise
}

type agentsSuspend struct {
	remote `embed:""`
	Name   string `arg:""`
}

// Run suspends.
func (a *agentsSuspend) Run(e *env) error {
	return switchAgent(e, &a.remote, a.Name, "countersignSuspendAgent")
}

type agentsResume struct {
	remote `embed:""`
	Name   string `arg:""`
}

// Run resumes.
func (a *agentsResume) Run(e *env) error {
	return switchAgent(e, &a.remote, a.Name, "countersignResumeAgent")
}

func switchAgent(e *env, r *remote, name, mutation string) error {
	c, err := r.client(e)
	if err != nil {
		return err
	}
	var res struct {
		Done *struct {
			Name      string
			Suspended bool
		}
	}
	if err := c.graph(`mutation($n: String!) { done: `+mutation+`(name: $n) { name suspended } }`, map[string]any{"n": name}, &res); err != nil {
		return err
	}
	if res.Done != nil {
		e.printf("%s is %s\n", plain(res.Done.Name), stateWord(!res.Done.Suspended, "suspended"))
	}
	return nil
}

type agentsKeys struct {
	Add    keysAdd    `cmd:"" help:"Make a key; it is shown once."`
	List   keysList   `cmd:"" help:"List an agent's keys."`
	Rotate keysRotate `cmd:"" help:"Make a new key instead of another one; it is shown once."`
	Revoke keysRevoke `cmd:"" help:"Revoke a key by its id."`
}

// keyHolder is the id of who has keys: an agent by its name, or service:NAME.
func keyHolder(name string) string {
	if strings.HasPrefix(name, identity.ServiceID("")) {
		return name
	}
	return identity.AgentID(name)
}

// A madeKey is a new key as it is printed.
type madeKey struct {
	ID        string    `json:"id"`
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expiresAt"`
}

func (k *madeKey) print(e *env, name string, asJSON bool) error {
	if asJSON {
		return printJSON(e.stdout, k)
	}
	e.printf("%s\n", k.Token)
	fmt.Fprintf(e.stderr, "key %s of %s, until %s; it is shown only now\n", plain(k.ID), plain(name), k.ExpiresAt.Format(time.DateOnly))
	return nil
}

// expiry is the instant after a time from now, for a server; nil: not said.
func expiry(lives time.Duration) *time.Time {
	if lives == 0 {
		return nil
	}
	at := time.Now().Add(lives).UTC()
	return &at
}

type keysAdd struct {
	either  `embed:""`
	Name    string `arg:"" help:"The agent, or service:NAME."`
	For     string `help:"The person that the agent acts for with this key."`
	Label   string `help:"What the key is for."`
	Expires span   `help:"How long it is valid, as 12h or 30d; at most, and by default, identity.apiKeys.maxAge."`
}

// Run makes a key.
func (k *keysAdd) Run(e *env) error {
	c, err := k.server(e)
	if err != nil {
		return err
	}
	if c == nil {
		return k.with(e, func(ctx context.Context, ids *identity.Service) error {
			in := identity.NewKey{Principal: keyHolder(k.Name), Label: k.Label, Lives: time.Duration(k.Expires)}
			if k.For != "" {
				in.For = identity.UserID(k.For)
			}
			key, err := ids.CreateKey(ctx, nil, in)
			if err != nil {
				return err
			}
			return (&madeKey{key.ID, key.Token, key.ExpiresAt}).print(e, k.Name, k.JSON)
		})
	}
	in := map[string]any{"n": k.Name, "e": expiry(time.Duration(k.Expires))}
	if k.For != "" {
		in["f"] = k.For
	}
	if k.Label != "" {
		in["l"] = k.Label
	}
	return newKey(e, c, `mutation($n: String!, $f: String, $l: String, $e: DateTime) {
		key: countersignAgentKeysAdd(name: $n, actsFor: $f, label: $l, expires: $e) { id token expiresAt } }`, in, k.Name, k.JSON)
}

func newKey(e *env, c *client, mutation string, in map[string]any, name string, asJSON bool) error {
	var res struct{ Key *madeKey }
	if err := c.graph(mutation, in, &res); err != nil {
		return err
	}
	if res.Key == nil {
		return fmt.Errorf("%s answered without a key", c.base)
	}
	return res.Key.print(e, name, asJSON)
}

type keysList struct {
	either `embed:""`
	Name   string `arg:"" help:"The agent, or service:NAME."`
}

// A listedKey is a key of a server.
type listedKey struct {
	ID        string     `json:"id"`
	ActsFor   string     `json:"actsFor,omitempty"`
	Label     string     `json:"label,omitempty"`
	CreatedAt time.Time  `json:"createdAt"`
	ExpiresAt time.Time  `json:"expiresAt"`
	RevokedAt *time.Time `json:"revokedAt,omitempty"`
	Live      bool       `json:"live"`
}

// Run lists keys.
func (k *keysList) Run(e *env) error {
	c, err := k.server(e)
	if err != nil {
		return err
	}
	rows := [][]string{{"ID", "FOR", "LABEL", "EXPIRES", "STATE"}}
	if c == nil {
		return k.with(e, func(ctx context.Context, ids *identity.Service) error {
			keys, err := ids.Credentials(ctx, policy.DefaultTenant, identity.KindKey, keyHolder(k.Name))
			if err != nil {
				return err
			}
			if k.JSON {
				return printJSON(e.stdout, keys)
			}
			for _, x := range keys {
				rows = append(rows, []string{x.ID, x.For, x.Label, x.ExpiresAt.Format(time.DateOnly), stateWord(x.Live, "ended")})
			}
			return table(e.stdout, rows)
		})
	}
	var res struct {
		Countersign struct{ AgentKeys []listedKey }
	}
	if err := c.graph(`query($n: String!) { countersign { agentKeys(name: $n) { id actsFor label createdAt expiresAt revokedAt live } } }`, map[string]any{"n": k.Name}, &res); err != nil {
		return err
	}
	if k.JSON {
		return printJSON(e.stdout, res.Countersign.AgentKeys)
	}
	for _, x := range res.Countersign.AgentKeys {
		rows = append(rows, []string{x.ID, x.ActsFor, x.Label, x.ExpiresAt.Format(time.DateOnly), stateWord(x.Live, "ended")})
	}
	return table(e.stdout, rows)
}

type keysRotate struct {
	either  `embed:""`
	Name    string `arg:"" help:"The agent, or service:NAME."`
	ID      string `arg:"" help:"The old key's id."`
	Overlap *span  `help:"How long the old key is still valid; by default identity.apiKeys.overlap."`
	Expires span   `help:"How long the new key is valid, as 12h or 30d; at most, and by default, identity.apiKeys.maxAge."`
}

// Run rotates a key.
func (k *keysRotate) Run(e *env) error {
	c, err := k.server(e)
	if err != nil {
		return err
	}
	if c == nil {
		return k.with(e, func(ctx context.Context, ids *identity.Service) error {
			if err := hasKey(ctx, ids, k.Name, k.ID); err != nil {
				return err
			}
			key, err := ids.RotateKey(ctx, nil, identity.Rotation{ID: k.ID, Overlap: (*time.Duration)(k.Overlap), Lives: time.Duration(k.Expires)})
			if err != nil {
				return err
			}
			return (&madeKey{key.ID, key.Token, key.ExpiresAt}).print(e, k.Name, k.JSON)
		})
	}
	in := map[string]any{"n": k.Name, "i": k.ID, "e": expiry(time.Duration(k.Expires))}
	if k.Overlap != nil {
		in["o"] = int(time.Duration(*k.Overlap).Seconds())
	}
	return newKey(e, c, `mutation($n: String!, $i: ID!, $o: Int, $e: DateTime) {
		key: countersignAgentKeysRotate(name: $n, id: $i, overlap: $o, expires: $e) { id token expiresAt } }`, in, k.Name, k.JSON)
}

// hasKey refuses the id of a key that is somebody else's.
func hasKey(ctx context.Context, ids *identity.Service, name, id string) error {
	keys, err := ids.Credentials(ctx, policy.DefaultTenant, identity.KindKey, keyHolder(name))
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.ID == id {
			return nil
		}
	}
	return fmt.Errorf("%s has no key %s", name, id)
}

type keysRevoke struct {
	either `embed:""`
	Which  []string `arg:"" name:"which" help:"The key's id, or the agent and the key's id (on a server)."`
}

// Run revokes a key.
func (k *keysRevoke) Run(e *env) error {
	c, err := k.server(e)
	if err != nil {
		return err
	}
	id := k.Which[len(k.Which)-1]
	switch {
	case len(k.Which) > 2 || c != nil && len(k.Which) != 2:
		return usagef("agents keys revoke: the agent's name, then the key's id")
	case c != nil:
		err = c.graph(`mutation($n: String!, $i: ID!) { countersignAgentKeysRevoke(name: $n, id: $i) { id } }`, map[string]any{"n": k.Which[0], "i": id}, &struct{}{})
	default:
		err = k.with(e, func(ctx context.Context, ids *identity.Service) error {
			if len(k.Which) == 2 {
				if err := hasKey(ctx, ids, k.Which[0], id); err != nil {
					return err
				}
			}
			return ids.Revoke(ctx, nil, policy.DefaultTenant, id)
		})
	}
	if err == nil {
		e.printf("revoked\n")
	}
	return err
}
