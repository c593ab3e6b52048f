-- The columns of the table's unique keys: without one on (id, created_at), rows written twice would be there twice.
SELECT index_name, LOWER(column_name)
FROM information_schema.statistics
WHERE table_schema = DATABASE() AND table_name = 'github_events' AND non_unique = 0
