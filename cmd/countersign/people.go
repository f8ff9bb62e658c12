package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
	"github.com/countersign/countersign/store"
)

// local are the flags of commands that open the store themselves: they make the
// first users and keys.
type local struct {
	Config string `help:"The configuration." default:"countersign.yaml" type:"path"`
	Data   string `help:"Folder of the store and the keys." default:"data" type:"path"`
	JSON   bool   `help:"Print JSON." name:"json"`
}

// open gives the identities of a data folder, and how to close them.
func (l *local) open(e *env) (*identity.Service, func() error, error) {
	cfg, problems := config.Load(l.Config)
	if printProblems(e.stderr, problems) {
		return nil, nil, errSilent
	}
	if err := writable(l.Data); err != nil {
		return nil, nil, err
	}
	keys, err := openKeyring(cfg, l.Data)
	if err != nil {
		return nil, nil, err
	}
	s, err := openStore(e.ctx, cfg, l.Data, store.Tool, keys)
	if err != nil {
		return nil, nil, err
	}
	ids, err := identity.New(identityConfig(cfg), s, identity.Options{})
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return ids, s.Close, nil
}

// with runs fn with the identities of a data folder.
func (l *local) with(e *env, fn func(context.Context, *identity.Service) error) error {
	ids, done, err := l.open(e)
	if err != nil {
		return err
	}
	return errors.Join(fn(e.ctx, ids), done())
}

type usersCmd struct {
	Add  usersAdd  `cmd:"" help:"Add a person; the password is read from standard input, or a link to set one is printed."`
	List usersList `cmd:"" help:"List people."`
}

type usersAdd struct {
	local    `embed:""`
	User     string   `arg:"" help:"E-mail address."`
	Name     string   `help:"Full name."`
	Role     []string `help:"Roles; may be given several times."`
	Password bool     `help:"Read the password, one line, from standard input."`
}

// Run adds a person.
func (u *usersAdd) Run(e *env) error {
	return u.with(e, func(ctx context.Context, ids *identity.Service) error {
		in := identity.NewUser{User: u.User, Name: u.Name, Roles: u.Role}
		if u.Password {
			line, err := bufio.NewReader(e.stdin).ReadString('\n')
			if err != nil && line == "" {
				return errors.New("no password on standard input")
			}
			in.Password = strings.TrimRight(line, "\r\n")
		}
		user, err := ids.AddUser(ctx, nil, in)
		if err != nil {
			return err
		}
		if u.Password {
			e.printf("added %s\n", user.ID)
			return nil
		}
		link, err := ids.CreateLink(ctx, nil, identity.KindPassword, policy.DefaultTenant, user.ID, linkLives)
		if err != nil {
			return err
		}
		e.printf("added %s\nto set a password, within %s, open the server's address with\n  /sign-in#link=%s&set=1\n", user.ID, linkLives, link.Token)
		return nil
	})
}

type usersList struct {
	local `embed:""`
}

// Run lists people.
func (u *usersList) Run(e *env) error {
	return u.with(e, func(ctx context.Context, ids *identity.Service) error {
		users, err := ids.Users(ctx, policy.DefaultTenant)
		if err != nil {
			return err
		}
		if u.JSON {
			return printJSON(e.stdout, users)
		}
		rows := [][]string{{"ID", "NAME", "ROLES", "STATE"}}
		for _, x := range users {
			state := "active"
			if x.Suspended {
				state = "suspended"
			}
			rows = append(rows, []string{x.ID, x.Name, strings.Join(x.Roles, " "), state})
		}
		return table(e.stdout, rows)
	})
}

type agentsCmd struct {
	List    agentsList    `cmd:"" help:"List agents."`
	Suspend agentsSuspend `cmd:"" help:"Suspend an agent at once (on a server)."`
	Resume  agentsResume  `cmd:"" help:"Resume a suspended agent (on a server)."`
	Keys    agentsKeys    `cmd:"" help:"The keys of an agent."`
}

type agentsList struct {
	local `embed:""`
}

// Run lists agents.
func (a *agentsList) Run(e *env) error {
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
			state := "active"
			if x.Suspended {
				state = "suspended"
			}
			rows = append(rows, []string{x.Name, x.Owner, strings.Join(x.Roles, " "), string(x.ActsFor), state, x.Purpose})
		}
		return table(e.stdout, rows)
	})
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
		state := "active"
		if res.Done.Suspended {
			state = "suspended"
		}
		e.printf("%s is %s\n", plain(res.Done.Name), state)
	}
	return nil
}

type agentsKeys struct {
	Add    keysAdd    `cmd:"" help:"Make a key; it is shown once."`
	List   keysList   `cmd:"" help:"List an agent's keys."`
	Revoke keysRevoke `cmd:"" help:"Revoke a key by its id."`
}

type keysAdd struct {
	local `embed:""`
	Name  string `arg:"" help:"The agent."`
	For   string `help:"The person that the agent acts for with this key."`
	Label string `help:"What the key is for."`
}

// Run makes a key.
func (k *keysAdd) Run(e *env) error {
	return k.with(e, func(ctx context.Context, ids *identity.Service) error {
		in := identity.NewKey{Principal: identity.AgentID(k.Name), Label: k.Label}
		if k.For != "" {
			in.For = identity.UserID(k.For)
		}
		key, err := ids.CreateKey(ctx, nil, in)
		if err != nil {
			return err
		}
		if k.JSON {
			return printJSON(e.stdout, map[string]any{"id": key.ID, "token": key.Token, "expiresAt": key.ExpiresAt})
		}
		e.printf("%s\n", key.Token)
		fmt.Fprintf(e.stderr, "key %s of agent %s, until %s; it is shown only now\n", key.ID, k.Name, key.ExpiresAt.Format("2006-01-02"))
		return nil
	})
}

type keysList struct {
	local `embed:""`
	Name  string `arg:"" help:"The agent."`
}

// Run lists keys.
func (k *keysList) Run(e *env) error {
	return k.with(e, func(ctx context.Context, ids *identity.Service) error {
		keys, err := ids.Credentials(ctx, policy.DefaultTenant, identity.KindKey, identity.AgentID(k.Name))
		if err != nil {
			return err
		}
		if k.JSON {
			return printJSON(e.stdout, keys)
		}
		rows := [][]string{{"ID", "FOR", "LABEL", "EXPIRES", "STATE"}}
		for _, x := range keys {
			state := "ended"
			if x.Live {
				state = "active"
			}
			rows = append(rows, []string{x.ID, x.For, x.Label, x.ExpiresAt.Format("2006-01-02"), state})
		}
		return table(e.stdout, rows)
	})
}

type keysRevoke struct {
	local `embed:""`
	ID    string `arg:"" help:"The key's id."`
}

// Run revokes a key.
func (k *keysRevoke) Run(e *env) error {
	return k.with(e, func(ctx context.Context, ids *identity.Service) error {
		if err := ids.Revoke(ctx, nil, policy.DefaultTenant, k.ID); err != nil {
			return err
		}
		e.printf("revoked\n")
		return nil
	})
}
