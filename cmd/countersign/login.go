package main

import (
	"errors"
	"time"
)

type loginCmd struct {
	URL string `help:"Address of the server." default:"http://127.0.0.1:8080" env:"COUNTERSIGN_URL"`
}

// Run asks for a code, shows it, and waits until a signed-in person lets it in.
func (l *loginCmd) Run(e *env) error {
	c, err := (&remote{URL: l.URL, Token: "-"}).client(e)
	if err != nil {
		return err
	}
	c.token = ""
	var code struct {
		DeviceCode, UserCode, VerificationURI string
		ExpiresIn, Interval                   int
	}
	if err := c.post("/auth/device", map[string]string{}, &code); err != nil {
		return err
	}
	e.printf("Open %s and type the code %s\n", code.VerificationURI, code.UserCode)
	wait := time.NewTicker(time.Duration(max(1, code.Interval)) * time.Second)
	defer wait.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return e.ctx.Err()
		case <-wait.C:
		}
		var done struct{ Token, Name, Status string }
		if err := c.post("/auth/device/token", map[string]string{"deviceCode": code.DeviceCode}, &done); err != nil {
			return err
		}
		switch done.Status {
		case "pending":
			continue
		case "done":
			if err := writeToken(e, c.base, done.Token); err != nil {
				return err
			}
			e.printf("Signed in to %s as %s.\n", c.base, plain(done.Name))
			return nil
		}
		return errors.New("the code was not confirmed in time, or was refused")
	}
}
