package proposals

import (
	"context"
	"sync"
)

// Once looks once at everything that is due and waits until it is done.
func (x *Executor) Once(ctx context.Context) {
	var wg sync.WaitGroup
	x.round(ctx, make(chan struct{}, dueAtOnce), &wg)
	wg.Wait()
}
