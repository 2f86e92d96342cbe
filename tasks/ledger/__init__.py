"""The memory of the nightly count: what was counted when, by which model, judged how, and what people answered."""
