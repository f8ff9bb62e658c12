package audit

// Waiting is how many wait for the next commit.
func Waiting(j *Journal) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.waiting)
}

// Windows is how many repetitions are counted at once.
func Windows(j *Journal) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.windows)
}
