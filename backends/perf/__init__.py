"""Live Linux through perf: breakpoints as perf events, a BPF program at each hit where that is allowed."""
