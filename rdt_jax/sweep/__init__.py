"""Many runs: what a study asks for, which trials go together, who trains them."""
