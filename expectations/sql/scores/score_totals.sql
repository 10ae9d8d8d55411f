-- One row: how scores and sessions match.
create table score_totals as
with sessions as (
    select session_id from warehouse.marts.fct_sessions
),

features as (
    select session_id from warehouse.ml.feat_sessions
),

scores as (
    select * from warehouse.marts.fct_session_scores
),

scored as (
    select session_id from scores
    where scored_at is not null
),

predictions as (
    select
        session_id,
        scored_at
    from warehouse.ml.session_predictions
)

select
    'all sessions' as subject,
    (
        select count(*) from features
        anti join scored on features.session_id = scored.session_id
    ) as sessions_without_scores,
    (
        select count(*) from scores
        anti join sessions on scores.session_id = sessions.session_id
    ) as scores_without_session,
    (select count(*) from scores) - (select count(*) from sessions) as rows_off_sessions,
    (
        select count(*) from predictions
        anti join scores on predictions.session_id = scores.session_id and predictions.scored_at = scores.scored_at
    ) as predictions_off_scores,
    (
        select count(*) from scores
        where propensity_full_version is not null and propensity_full is null
    ) as versions_without_propensity;
