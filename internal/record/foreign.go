package record

import "context"

func (p *player) foreign(ctx context.Context, files []*opened) error { return nil }
