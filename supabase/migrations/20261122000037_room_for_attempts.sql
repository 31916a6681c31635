-- A page is left room for a second version of each of its rows: with less, most updates of begin_attempts found none, went to
-- another page, and had to touch every index after all. Rows of before keep their places.
alter table messages set (fillfactor = 45);
