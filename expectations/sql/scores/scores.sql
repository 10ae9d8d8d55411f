-- One row per session of fct_session_scores.
create view scores as
select
    session_id as subject,
    session_id,
    propensity_full,
    propensity_precheckout
from warehouse.marts.fct_session_scores;
