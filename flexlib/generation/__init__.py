"""From prompts to programs: batched decoding and the cache it uses."""
