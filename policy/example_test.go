package policy_test

import (
	"fmt"

	"github.com/countersign/countersign/policy"
)

// A policy is loaded once and answers with views: plain data that plans are
// compiled from.
func ExampleLoad() {
	engine, problems := policy.Load([]policy.File{{Name: "policy.csv", Data: []byte(`
p, support, stripe.PostRefunds, call, propose
p, support, stripe.PostRefunds, call, allow, {amount: {lte: 5000}}
p, suport,  crm.order,          read, allow
`)}}, declare(defaultSchema), policy.Options{})
	fmt.Println(engine == nil, problems[len(problems)-1])

	engine, _ = policy.Load([]policy.File{{Name: "policy.csv", Data: []byte(`
p, support, stripe.PostRefunds, call, propose
p, support, stripe.PostRefunds, call, allow, {amount: {lte: 5000}}
`)}}, declare(defaultSchema), policy.Options{})
	view := engine.View(&policy.Principal{ID: "user:s", Kind: policy.Human, Roles: []string{"support"}})
	decision := view.Object("stripe.PostRefunds").Call.Decide([]string{"s_amount", "s_charge"})
	fmt.Println(decision.Effect, "at once where", conditionText(decision.Direct, view.Params))
	// Output:
	// true policy.csv:4:13: "crm.order" names nothing that is pinned. Did you mean "crm.orders"?
	// propose at once where s_amount lte 5000
}

// Distinct persons fill the seats that rules ask for.
func ExampleSatisfied() {
	seats := []policy.Seat{{Role: "finance", Count: 1}, {Role: "lead", Count: 1}}
	ona := policy.Approver{ID: "user:ona", Roles: []string{"finance", "lead"}}
	ben := policy.Approver{ID: "user:ben", Roles: []string{"finance"}}
	fmt.Println(policy.Satisfied(seats, []policy.Approver{ona}))
	fmt.Println(policy.Satisfied(seats, []policy.Approver{ona, ben}))
	// Output:
	// false [{lead 1 false []}]
	// true []
}
