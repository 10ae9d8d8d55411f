-- One row per date, dimension value and rate that is not null.
create table dimension_rates as
select
    concat_ws(' ', kpi_date, dimension || '=' || coalesce(dimension_value, 'null'), rate_name) as subject,
    kpi_date,
    rate_name,
    rate
from warehouse.marts.agg_kpis_daily_by_dimension
unpivot (rate for rate_name in (columns('_rate$')));
