"""How messages reach people: the outbox, its delivery, and the ways out."""
