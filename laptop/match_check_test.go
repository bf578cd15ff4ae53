package laptop_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
)

// checkMatch holds for any two readings whatsoever.
func checkMatch(t testing.TB, before, after []laptop.Identity, rows []laptop.Matched) {
	t.Helper()
	wantIDs := func(list []laptop.Identity) []string {
		ids := []string{}
		for _, id := range list {
			ids = append(ids, id.ID)
		}
		slices.Sort(ids)
		return ids
	}
	var gotBefore, gotAfter = []string{}, []string{}
	for _, r := range rows {
		// An empty ID is no machine's; a fuzzer may make one.
		if r.Before != "" {
			gotBefore = append(gotBefore, r.Before)
		}
		if r.After != "" {
			gotAfter = append(gotAfter, r.After)
		}
		one, two := r.Before != "" || r.After != "", r.Before != "" && r.After != ""
		switch r.Outcome {
		case laptop.Same, laptop.Moved, laptop.Replaced:
			if !two {
				t.Errorf("%s without two: %+v", r.Outcome, r)
			}
		case laptop.Gone, laptop.Arrived, laptop.Ambiguous:
			if two || !one || r.Outcome == laptop.Gone && r.Before == "" || r.Outcome == laptop.Arrived && r.After == "" {
				t.Errorf("%s: %+v", r.Outcome, r)
			}
			if r.Score != 0 {
				t.Errorf("score of one alone: %+v", r)
			}
		default:
			t.Errorf("outcome %q", r.Outcome)
		}
		if (r.Outcome == laptop.Ambiguous) != (len(r.Candidates) > 0) || len(r.Candidates) > 16 || r.Outcome == laptop.Ambiguous && r.Note == "" {
			t.Errorf("candidates: %+v", r)
		}
		if r.Suspicious != (len(r.Added)+len(r.Removed) > 0) || r.Suspicious && r.Outcome != laptop.Same && r.Outcome != laptop.Moved && r.Outcome != laptop.Ambiguous {
			t.Errorf("suspicious: %+v", r)
		}
		part := strings.HasPrefix(r.Note, "part of ")
		if part && r.Outcome != laptop.Gone && r.Outcome != laptop.Arrived || r.Note != "" && !part && (r.Outcome == laptop.Gone || r.Outcome == laptop.Arrived) {
			t.Errorf("note: %+v", r)
		}
		known, agreed := 0, 0
		for _, e := range r.Evidence {
			if e.Weight != e.Kind.Weight() || e.Before == "" && e.After == "" || (e.Before == "" || e.After == "") && e.Agrees != iommu.Unknown {
				t.Errorf("evidence %+v", e)
			}
			if e.Agrees != iommu.Unknown {
				known += e.Weight
			}
			if e.Agrees == iommu.Yes {
				agreed += e.Weight
			}
		}
		unsure := strings.Contains(r.Note, "could not be compared")
		if unsure && (r.Outcome != laptop.Same && r.Outcome != laptop.Moved || r.Score == 100) {
			t.Errorf("compared or not: %+v", r)
		}
		if unsure && r.Score == 99 && agreed == known {
			continue
		}
		if known == 0 && r.Score != 0 || known > 0 && (r.Score < 100*agreed/known || r.Score > 100*agreed/known+1) || r.Score > 100 {
			t.Errorf("score %d of %d/%d", r.Score, agreed, known)
		}
	}
	slices.Sort(gotBefore)
	slices.Sort(gotAfter)
	if !slices.Equal(gotBefore, wantIDs(before)) || !slices.Equal(gotAfter, wantIDs(after)) {
		t.Errorf("not each device once:\n%v\n%v", gotBefore, gotAfter)
	}
}
