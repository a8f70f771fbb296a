"""Two ways to go beyond plain textual inversion: v1 learns more, v2 reads other languages."""
