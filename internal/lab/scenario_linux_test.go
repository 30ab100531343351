package lab_test

import (
	"context"
	"testing"

	"natlens/internal/lab"
	"natlens/internal/lab/labtest"
)

func TestScenariosPlay(t *testing.T) {
	for _, s := range lab.Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			h := labtest.NewHost(t)
			if err := s.Build(h); err != nil {
				t.Fatal(err)
			}
			if err := s.Play(context.Background(), h); err != nil {
				t.Fatal(err)
			}
		})
	}
}
