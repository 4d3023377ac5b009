select name::text from pg_available_extensions
