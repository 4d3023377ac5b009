alter text search configuration search.config alter mapping for url with search.words;
alter text search dictionary search.words (accept = true);
alter text search parser search.parser rename to reader;
