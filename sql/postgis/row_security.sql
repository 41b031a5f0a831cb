-- What hides rows or values of a table. Labels of providers such as sepgsql or anon say who may see what.

-- protections --
SELECT relrowsecurity, relforcerowsecurity,
       ARRAY(SELECT DISTINCT provider FROM pg_seclabel
             WHERE classoid = 'pg_class'::regclass AND objoid = pg_class.oid ORDER BY 1)
FROM pg_class WHERE oid = %s;

-- policies --
SELECT quote_ident(polname) FROM pg_policy WHERE polrelid = %s ORDER BY 1;
