package main

import "time"

// killCmd stops writes at once, on a server.
type killCmd struct {
	Set  killSet  `cmd:"" help:"Stop writes at once: of an agent, to a source, or all."`
	Lift killLift `cmd:"" help:"Lift the kill switch of exactly this scope."`
	List killList `cmd:"" help:"List the kill switches that are set."`
}

// scope is what a kill switch covers.
type scope struct {
	Source string `help:"Only writes to this source."`
	Agent  string `help:"Only writes of this agent, also where it stands behind another one."`
	All    bool   `help:"Every write, of everybody."`
}

// variables of the mutations.
func (s *scope) variables() (map[string]any, error) {
	if s.All == (s.Source != "" || s.Agent != "") {
		return nil, usagef("say what: --source, --agent or both; or --all")
	}
	in := map[string]any{}
	if s.Source != "" {
		in["s"] = s.Source
	}
	if s.Agent != "" {
		in["a"] = s.Agent
	}
	return in, nil
}

type killSet struct {
	remote `embed:""`
	scope  `embed:""`
	Reason string `help:"Why; whoever is refused is told." required:""`
}

// Run sets a kill switch.
func (k *killSet) Run(e *env) error {
	in, err := k.variables()
	if err != nil {
		return err
	}
	c, err := k.client(e)
	if err != nil {
		return err
	}
	in["r"] = k.Reason
	if err := c.graph(`mutation($s: String, $a: String, $r: String!) { countersignSetKillSwitch(source: $s, agent: $a, reason: $r) { at } }`, in, &struct{}{}); err != nil {
		return err
	}
	e.printf("writes are stopped\n")
	return nil
}

type killLift struct {
	remote `embed:""`
	scope  `embed:""`
}

// Run lifts a kill switch.
func (k *killLift) Run(e *env) error {
	in, err := k.variables()
	if err != nil {
		return err
	}
	c, err := k.client(e)
	if err != nil {
		return err
	}
	var res struct{ Lifted *bool }
	if err := c.graph(`mutation($s: String, $a: String) { lifted: countersignLiftKillSwitch(source: $s, agent: $a) }`, in, &res); err != nil {
		return err
	}
	if res.Lifted == nil || !*res.Lifted {
		e.printf("there is no such kill switch\n")
		return nil
	}
	e.printf("lifted\n")
	return nil
}

type killList struct {
	remote `embed:""`
}

// A killSwitch is one as it is printed.
type killSwitch struct {
	Source     string    `json:"source,omitempty"`
	Agent      string    `json:"agent,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	By         string    `json:"by"`
	At         time.Time `json:"at"`
	Suspension bool      `json:"suspension"`
}

// Run lists kill switches.
func (k *killList) Run(e *env) error {
	c, err := k.client(e)
	if err != nil {
		return err
	}
	var res struct {
		Countersign struct{ KillSwitches []killSwitch }
	}
	if err := c.graph(`{ countersign { killSwitches { source agent reason by at suspension } } }`, nil, &res); err != nil {
		return err
	}
	if k.JSON {
		return printJSON(e.stdout, res.Countersign.KillSwitches)
	}
	rows := [][]string{{"SOURCE", "AGENT", "SINCE", "BY", "REASON"}}
	for _, x := range res.Countersign.KillSwitches {
		rows = append(rows, []string{orAll(x.Source), orAll(x.Agent), x.At.Format(time.DateTime), x.By, x.Reason})
	}
	return table(e.stdout, rows)
}

func orAll(s string) string {
	if s == "" {
		return "all"
	}
	return s
}
