package pcapng

import (
	"math"
	"math/big"
	"testing"
)

func TestEveryResolution(t *testing.T) {
	for _, timestamp := range []uint64{0, 1, 1_790_000_000, 1_790_000_000_123_456, 1_790_000_000_123_456_789, math.MaxUint64} {
		for exponent := range 128 {
			for _, binary := range []bool{false, true} {
				for _, offset := range []int64{0, 3600, -3600, math.MaxInt64, math.MinInt64} {
					got := clock{places: uint8(exponent), binary: binary, offset: offset}.ns(timestamp)
					base := int64(10)
					if binary {
						base = 2
					}
					want := new(big.Int).Mul(new(big.Int).SetUint64(timestamp), big.NewInt(1e9))
					want.Quo(want, new(big.Int).Exp(big.NewInt(base), big.NewInt(int64(exponent)), nil))
					const most = int64(math.MaxInt64)
					if want.Cmp(big.NewInt(most)) > 0 {
						want.SetInt64(most)
					}
					seconds := min(max(offset, -most/1e9), most/1e9)
					want.Add(want, new(big.Int).Mul(big.NewInt(seconds), big.NewInt(1e9)))
					if want.Cmp(big.NewInt(most)) > 0 {
						want.SetInt64(most)
					}
					if want.Int64() != got {
						t.Errorf("%d × %d^-%d + %d s: %d, want %v", timestamp, base, exponent, offset, got, want)
					}
				}
			}
		}
	}
}
