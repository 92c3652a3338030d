"""Linux's hw-breakpoint layer and its owners, as a model: who may have a debug register, and who sits in which."""
