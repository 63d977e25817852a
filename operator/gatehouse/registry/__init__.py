"""The registry's rows in MariaDB, MySQL, PostgreSQL or SQLite: they outlive the objects they describe."""
