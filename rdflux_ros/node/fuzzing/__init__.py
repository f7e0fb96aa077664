"""What may come in and has to go out, as hypothesis draws it, and what must hold for all of it. Needs hypothesis."""
