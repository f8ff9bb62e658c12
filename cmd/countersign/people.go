package main

import (
	"bufio"
	"context"
	"errors"
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
	User     string   `arg:"" help:"E-mail address; a name, of a service."`
	Name     string   `help:"Full name."`
	Role     []string `help:"Roles; may be given several times."`
	Password bool     `help:"Read the password, one line, from standard input."`
	Service  bool     `help:"A service account instead of a person: it has keys (agents keys add service:NAME), never signs in and decides nothing."`
	Owner    string   `help:"With --service: the person who answers for it."`
}

// Run adds a person.
func (u *usersAdd) Run(e *env) error {
	if u.Service {
		return u.service(e)
	}
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

// service adds a service account.
func (u *usersAdd) service(e *env) error {
	if u.Owner == "" || u.Password || u.Name != "" {
		return usagef("users add --service: --owner says who answers for it; it has no password and no other name")
	}
	return u.with(e, func(ctx context.Context, ids *identity.Service) error {
		if err := ids.AddService(ctx, nil, policy.DefaultTenant, u.User, identity.UserID(u.Owner), u.Role); err != nil {
			return err
		}
		e.printf("added %s\nto make a key of it: countersign agents keys add %s\n", identity.ServiceID(u.User), identity.ServiceID(u.User))
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
