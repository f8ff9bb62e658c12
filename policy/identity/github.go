package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

// GitHubIssuer is the issuer of GitHub, which speaks OAuth 2 and is no OpenID
// provider: who somebody is comes from its API, as claims of these names: sub
// (the number of the account), login, name, email with email_verified (the
// primary address), orgs (logins of organisations) and teams ("org/team").
const GitHubIssuer = "https://github.com"

// GitHubAddresses are where GitHub is; empty: github.com and api.github.com.
type GitHubAddresses struct{ Web, API string }

// gitHubPages bounds how many pages of organisations or teams are read, of a
// hundred each.
const gitHubPages = 10

type gitHub struct {
	*verifier
	at GitHubAddresses
}

func newGitHub(v *verifier, at GitHubAddresses) *gitHub {
	if at.Web == "" {
		at.Web = GitHubIssuer
	}
	if at.API == "" {
		at.API = "https://api.github.com"
	}
	return &gitHub{verifier: v, at: at}
}

func (g *gitHub) endpoint() oauth2.Endpoint {
	return oauth2.Endpoint{AuthURL: g.at.Web + "/login/oauth/authorize", TokenURL: g.at.Web + "/login/oauth/access_token", AuthStyle: oauth2.AuthStyleInParams}
}

// who asks the API who a token is of. Organisations and teams are asked for
// only where the configuration uses them.
func (g *gitHub) who(ctx context.Context, token string) (*statement, error) {
	var user struct {
		ID    int64  `json:"id"`
		Login string `json:"login"`
		Name  string `json:"name"`
	}
	if err := g.get(ctx, token, "/user", &user); err != nil {
		return nil, err
	}
	if user.ID == 0 || user.Login == "" {
		return nil, problem(ProblemProvider, errors.New("an answer without an account"))
	}
	claims := jwt.MapClaims{"sub": strconv.FormatInt(user.ID, 10), "login": user.Login, "name": orName(user.Name, user.Login)}
	var emails []struct {
		Email             string
		Primary, Verified bool
	}
	// Without the scope user:email there is none, which matters only where it is
	// needed.
	if err := g.get(ctx, token, "/user/emails", &emails); err != nil && problemIs(err, ProblemUnavailable) {
		return nil, err
	}
	for _, e := range emails {
		if e.Primary {
			claims["email"], claims["email_verified"] = e.Email, e.Verified
		}
	}
	if g.uses("orgs") {
		var names []any
		err := pages(ctx, g, token, "/user/orgs", func(o struct{ Login string }) { names = append(names, o.Login) })
		if err != nil {
			return nil, err
		}
		claims["orgs"] = names
	}
	if g.uses("teams") {
		var names []any
		err := pages(ctx, g, token, "/user/teams", func(t struct {
			Slug         string
			Organization struct{ Login string }
		}) {
			names = append(names, t.Organization.Login+"/"+t.Slug)
		})
		if err != nil {
			return nil, err
		}
		claims["teams"] = names
	}
	return g.state(claims)
}

// uses tells whether the configuration says something by a claim.
func (g *gitHub) uses(claim string) bool {
	if g.Roles.From == claim || g.Tenant == claim {
		return true
	}
	for _, theirs := range g.Claims {
		if theirs == claim {
			return true
		}
	}
	return false
}

func pages[T any](ctx context.Context, g *gitHub, token, path string, each func(T)) error {
	for page := 1; page <= gitHubPages; page++ {
		var some []T
		if err := g.get(ctx, token, path+"?per_page=100&page="+strconv.Itoa(page), &some); err != nil {
			return err
		}
		for _, one := range some {
			each(one)
		}
		if len(some) < 100 {
			return nil
		}
	}
	return problem(ProblemProvider, fmt.Errorf("more than %d pages of %s", gitHubPages, strings.TrimPrefix(path, "/")))
}

func (g *gitHub) get(ctx context.Context, token, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.at.API+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/vnd.github+json")
	res, err := g.client.Do(req)
	if err != nil {
		return problem(ProblemUnavailable, err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests:
		return problem(ProblemUnavailable, errors.New(path+": "+res.Status))
	case res.StatusCode != http.StatusOK:
		return problem(ProblemProvider, errors.New(path+": "+res.Status))
	}
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		return problem(ProblemProvider, err)
	}
	return nil
}

func problemIs(err error, p Problem) bool {
	var known *SignInError
	return errors.As(err, &known) && known.Problem == p
}
