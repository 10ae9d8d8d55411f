-- One row per date and rate that is not null: every column whose name ends in _rate.
create table rates as
select
    kpi_date || ' ' || rate_name as subject,
    kpi_date,
    rate_name,
    rate
from warehouse.marts.agg_kpis_daily
unpivot (rate for rate_name in (columns('_rate$')));
