package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
)

// The prefixes of tokens, which tell people and secret scanners what they have
// found.
const (
	sessionPrefix = "css_"
	keyPrefix     = "cs_"
	linkPrefix    = "csl_"
	devicePrefix  = "csd_"
	browserPrefix = "csb_"
	accessPrefix  = "cst_"
)

const secretSize = 32

// tokenEncoding has one text for each value: a token with stray bits at its end
// is not another spelling of the same token.
var tokenEncoding = base64.RawURLEncoding.Strict()

// A form is the outer form of a bearer's text.
type form uint8

const (
	formUnknown form = iota
	formSession
	formKey
	formLink
	formDevice
	formBrowser
	formAccess
	formJWT
)

// maxToken bounds what is looked at.
const maxToken = 16 << 10

// formOf tells what a text may be. It does no look-up.
func formOf(text string) form {
	if len(text) > maxToken {
		return formUnknown
	}
	for _, p := range []struct {
		prefix string
		form   form
	}{{sessionPrefix, formSession}, {linkPrefix, formLink}, {devicePrefix, formDevice}, {browserPrefix, formBrowser}, {accessPrefix, formAccess}, {keyPrefix, formKey}} {
		body, ok := strings.CutPrefix(text, p.prefix)
		if !ok {
			continue
		}
		if len(body) == tokenEncoding.EncodedLen(secretSize) {
			if _, err := tokenEncoding.DecodeString(body); err == nil && !strings.ContainsAny(body, "\r\n") {
				return p.form
			}
		}
		return formUnknown
	}
	if strings.Count(text, ".") == 2 && !strings.ContainsAny(text, " \t\r\n") {
		return formJWT
	}
	return formUnknown
}

// newToken makes a token, and the digest under which it is kept.
func newToken(prefix string) (token, hash string, err error) {
	secret := make([]byte, secretSize)
	if _, err := rand.Read(secret); err != nil {
		return "", "", err
	}
	token = prefix + tokenEncoding.EncodeToString(secret)
	return token, hashToken(token), nil
}

// hashToken is the digest of a token. A token holds 256 random bits, so no
// salt or slow hash is needed.
func hashToken(token string) string {
	digest := digestToken(token)
	return string(digest[:])
}

// digestToken is hashToken without memory of its own.
func digestToken(token string) (text [2 * sha256.Size]byte) {
	var buf [128]byte
	sum := sha256.Sum256(append(append(buf[:0], "countersign/token/v1\x00"...), token...))
	hex.Encode(text[:], sum[:])
	return text
}

// hashUserCode is the digest of a device's user code; it can never be the
// digest of a token.
func hashUserCode(code string) string {
	sum := sha256.Sum256([]byte("countersign/user-code/v1\x00" + code))
	return hex.EncodeToString(sum[:])
}

// Credentials are what a request brought. The zero value is none.
type Credentials struct {
	// Bearer is the token of the Authorization header.
	Bearer string
	// Cookie is the session token of the cookie; it counts only where there is
	// no Bearer.
	Cookie string
	// Malformed: there is an Authorization header, but no bearer token in it.
	Malformed bool
}

// ByCookie tells whether the browser sent them by itself: such a request needs
// the CSRF header or an allowed Origin.
func (c Credentials) ByCookie() bool { return c.Bearer == "" && !c.Malformed && c.Cookie != "" }

// None tells whether there is no credential at all.
func (c Credentials) None() bool { return c == Credentials{} }

// FromRequest takes the credentials out of a request.
func (s *Service) FromRequest(r *http.Request) Credentials {
	var c Credentials
	if headers := r.Header.Values("Authorization"); len(headers) > 0 {
		c.Bearer, c.Malformed = bearerOf(headers)
	}
	if cookie, err := r.Cookie(s.CookieName()); err == nil {
		c.Cookie = cookie.Value
	}
	return c
}

// BearerOf reads the value of an Authorization header, for transports that
// carry it elsewhere (connection_init). An empty value is no credential.
func BearerOf(header string) Credentials {
	if header == "" {
		return Credentials{}
	}
	bearer, malformed := bearerOf([]string{header})
	return Credentials{Bearer: bearer, Malformed: malformed}
}

func bearerOf(headers []string) (bearer string, malformed bool) {
	if len(headers) > 1 {
		return "", true
	}
	scheme, rest, _ := strings.Cut(headers[0], " ")
	rest = strings.TrimSpace(rest)
	if !strings.EqualFold(scheme, "Bearer") || rest == "" {
		return "", true
	}
	return rest, false
}

// SignInCookieName is the name of the cookie that binds a sign-in at a provider
// to the browser that began it.
func (s *Service) SignInCookieName() string {
	if s.cfg.PlainHTTP {
		return "countersign-signing-in"
	}
	return "__Host-countersign-signing-in"
}

// SignInCookie holds the token of a sign-in that was begun; an empty token makes
// the browser forget it. It comes back with the browser's return from the
// provider, so SameSite is Lax.
func (s *Service) SignInCookie(token string) *http.Cookie {
	c := &http.Cookie{Name: s.SignInCookieName(), Value: token, Path: "/", HttpOnly: true, Secure: !s.cfg.PlainHTTP, SameSite: http.SameSiteLaxMode}
	c.MaxAge = int(signInLives.Seconds())
	if token == "" {
		c.MaxAge = -1
	}
	return c
}

// CookieName is the name of the session's cookie.
func (s *Service) CookieName() string {
	if s.cfg.PlainHTTP {
		return "countersign-session"
	}
	return "__Host-countersign"
}

// Cookie holds a session's token; an empty token makes the browser forget it.
func (s *Service) Cookie(token string) *http.Cookie {
	c := &http.Cookie{Name: s.CookieName(), Value: token, Path: "/", HttpOnly: true, Secure: !s.cfg.PlainHTTP, SameSite: http.SameSiteLaxMode}
	c.MaxAge = int(s.cfg.Sessions.Max.Seconds())
	if token == "" {
		c.MaxAge = -1
	}
	return c
}
