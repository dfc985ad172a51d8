//! The cases, by subject, and the one list of them.
//!
//! A case is a function of this crate only, so the compiler warns of one that the list below forgets.

mod agree;
mod chains;
mod commit;
mod counts;
mod documents;
mod feed;
mod filters;
mod histories;
mod ingest;
mod lanes;
mod leases;
mod life;
mod lists;
mod load;
mod numbers;
mod patches;
mod races;
mod records;
mod reopen;
mod repeat;
mod settled;
mod standing;
mod texts;
mod together;
mod tracking;
mod transfer;
mod unique;
mod views;
mod walks;

/// The list. `conformance_tests!` makes tests of it, [`CASES`] is made of it, and there is no other.
#[doc(hidden)]
#[macro_export]
macro_rules! __cases {
    ($mode:ident ($($harness:expr)?)) => {
        $crate::__expand! {
            $mode ($($harness)?)
            commit {
                first_write_has_revision_one_and_place_one
                every_write_raises_the_revision
                absent_takes_a_free_name
                absent_refuses_a_document
                present_refuses_nothing
                present_takes_any_revision
                revision_takes_its_own
                revision_refuses_an_older_and_a_newer
                revision_refuses_nothing
                any_creates_and_replaces
                conflict_names_document_demand_and_finding
                first_failing_write_is_named
                delete_removes
                delete_demands_are_judged
                delete_of_nothing_is_no_change
                recreated_document_begins_at_revision_one
                refused_write_refuses_the_whole_batch
                refused_batch_leaves_rows_and_latest_values_alone
                refused_row_refuses_the_writes
                refused_batch_takes_no_place
                places_rise_by_one
                one_batch_is_one_place
                answers_follow_the_order_of_writes
                check_changes_nothing
                check_guards_against_write_skew
                check_of_absence_guards_a_free_name
                batch_without_change_takes_no_place
                empty_batch_answers_with_the_newest_place
                put_of_an_equal_body_is_a_change
                dropping_a_latest_value_takes_a_place
                rows_alone_take_a_place
                one_id_in_two_kinds_is_two_documents
                key_twice_in_a_batch_is_invalid
                undeclared_names_are_invalid
                index_values_of_another_type_are_invalid
                index_values_of_another_shape_are_invalid
                texts_beyond_the_limits_are_invalid
                bodies_beyond_the_limit_are_invalid
                largest_batch_is_taken_and_a_larger_one_is_invalid
                invalid_comes_before_conflict
                conflict_comes_before_taken_and_row_conflict
            }
            repeat {
                repeat_answers_the_same_and_changes_nothing
                repeat_holds_after_later_changes
                repeat_makes_no_feed_entry
                repeat_of_a_delete_does_not_delete_again
                batch_that_changed_nothing_is_remembered
                reuse_with_other_contents_is_refused
                reuse_comes_before_conflict_and_after_invalid
                refused_batch_is_not_remembered
                refused_batch_leaves_its_id_free
                equal_contents_under_two_ids_are_two_commits
                compaction_forgets_batch_ids
                compaction_of_less_than_is_forgotten_forgets_nothing_more
                repeats_at_once_are_applied_once
            }
            unique {
                value_of_another_document_is_taken
                taken_names_column_and_holder
                document_keeps_its_own_value
                changed_value_frees_the_old_one
                deleted_document_frees_its_value
                value_is_freed_and_taken_in_one_batch
                value_is_taken_and_freed_in_one_batch
                values_are_swapped_in_one_batch
                two_claims_in_one_batch_clash
                nulls_never_clash
                kinds_do_not_share_values
                values_are_compared_by_bytes
                refused_batch_keeps_values_where_they_were
                one_of_many_claims_at_once_wins
            }
            documents {
                numbers_are_kept_as_written
                spacing_and_member_order_are_kept
                escapes_are_kept_as_written
                characters_of_four_bytes_are_kept
                scalars_and_arrays_are_bodies_too
                body_of_a_megabyte_is_kept
                largest_body_is_kept
                get_answers_in_the_order_of_the_keys
                get_of_nothing_is_nothing
                get_is_checked
                document_carries_the_place_of_its_last_write
                ids_are_sixteen_bytes_in_order
                document_has_thousands_of_values_in_a_column
                replaced_body_replaces_all_index_values
            }
            filters {
                all_is_everything
                equal_texts_integers_and_ids
                comparisons_tell_case_apart
                equal_null_finds_what_has_no_value
                in_finds_any_of_the_values
                in_takes_many_values
                range_includes_its_beginning_and_not_its_end
                unbounded_range_finds_every_value_but_null
                integers_reach_from_end_to_end
                prefix_is_by_characters_as_written
                prefix_has_no_wildcards
                prefix_ends_at_the_last_characters_of_unicode
                many_valued_column_matches_by_any_value
                two_predicates_may_be_met_by_two_values
                not_is_the_complement
                not_counts_null_as_not_meeting
                not_on_a_many_valued_column_means_none_of_its_values
                and_needs_all_and_or_needs_one
                empty_and_is_true_and_empty_or_is_false
                filters_nest
                wide_filters_are_served
                values_are_never_code
                filter_values_may_be_anything_that_is_text
                undeclared_column_is_no_index
                values_of_another_type_are_invalid
                filters_beyond_the_limits_are_invalid
            }
            lists {
                list_without_order_is_by_id
                ascending_with_null_first_and_ties_by_id
                descending_is_the_exact_reverse
                filtered_lists_keep_the_order
                list_by_its_own_equality
                document_with_many_matches_is_listed_once
                texts_are_ordered_by_bytes
                texts_of_digits_are_no_numbers
                next_is_none_at_the_end
                next_is_none_when_only_others_follow
                cursor_is_value_and_id_of_the_last_document
                cursor_outlives_its_document
                cursor_may_lie_anywhere
                cursor_of_another_order_is_invalid
                limits_of_a_page_are_kept
                kind_without_columns_is_listed
                long_list_is_walked_completely
            }
            counts {
                empty_store_counts_nothing
                count_is_the_length_of_the_list
                count_follows_changes
                tally_is_in_the_order_of_values_with_null_first
                tally_counts_each_of_many_values
                tally_counts_what_the_filter_leaves
                tally_adds_up_to_the_count
                tally_is_checked
            }
            ingest {
                latest_value_replaces_the_one_before
                later_value_of_one_call_wins
                sets_of_latest_values_are_apart
                latest_values_answer_in_the_order_of_the_keys
                latest_values_are_paged_by_id
                readings_of_latest_values_are_checked
                ingest_takes_no_place_and_makes_no_feed_entry
                empty_ingest_is_no_error
                repeated_row_is_dropped
                differing_row_is_a_conflict
                refused_ingest_leaves_nothing
                undeclared_names_are_invalid
                largest_ingest_is_taken_and_a_larger_one_is_invalid
                refused_ingest_does_not_harm_its_neighbours
                dropped_latest_value_may_come_again
            }
            lanes {
                rows_are_in_order_of_time_stream_and_number
                one_stream_is_read
                times_bound_a_reading
                rows_are_filtered
                stream_filter_and_times_combine
                next_is_none_at_the_end
                cursor_may_lie_anywhere
                row_comes_back_whole
                times_numbers_and_streams_reach_from_end_to_end
                readings_are_checked
                trim_removes_what_is_before_a_time
                trim_takes_no_place_and_makes_no_feed_entry
                trim_of_more_than_a_slice_is_complete
                trimmed_row_may_come_again
                trim_is_checked
                rows_of_commits_and_ingests_stand_side_by_side
                long_lane_is_walked_completely
            }
            chains {
                empty_chain_has_no_head
                first_link_covers_zeros_and_the_row
                links_follow_commits_and_the_order_within
                repeated_row_does_not_extend_the_chain
                refused_batch_does_not_extend_the_chain
                repeated_batch_does_not_extend_the_chain
                chained_rows_come_only_by_commit
                chained_lane_is_not_trimmed
                chained_lane_is_not_trimmed_whatever_the_store_is_for
                only_chained_lanes_have_links
                chain_holds_under_concurrency
                view_shows_the_head_of_its_place
            }
            views {
                empty_store_stands_at_zero
                view_shows_what_was_acknowledged
                view_does_not_see_later_commits
                view_does_not_see_later_ingests
                view_is_one_place_from_its_first_reading_on
                views_of_several_places_stand_side_by_side
                pages_of_one_view_agree_while_writers_run
                readings_of_one_view_agree_while_writers_run
                walks_over_many_views_miss_no_steady_document
                dropped_views_leave_no_trace
            }
            feed {
                entries_are_in_commit_order
                entries_of_a_commit_follow_the_batch_then_streams
                delete_tells_the_last_revision
                what_changes_nothing_is_not_told
                dropped_latest_value_is_not_told
                feed_begins_after_the_given_place
                feed_may_begin_ahead
                follower_gets_what_comes_later
                followers_do_not_take_from_each_other
                acknowledged_commit_is_in_the_feed
                feed_has_no_gap_and_no_repeat_under_concurrency
                followers_joining_midway_see_the_same
                slow_follower_misses_nothing
                large_commit_is_told_completely
                compaction_forgets_up_to_a_place
                compaction_counts_the_places_newly_forgotten
                feed_goes_on_after_everything_is_compacted
                follower_that_is_up_to_date_survives_compaction
                silent_feed_waits
                feed_ends_when_the_store_closes
                feed_of_a_frozen_store_ends_behind_its_last_commit
            }
            leases {
                free_lease_is_given
                held_lease_is_given_to_nobody_else
                renewal_keeps_the_fence
                names_are_apart
                lease_given_up_goes_to_another_with_a_greater_fence
                lease_given_up_and_taken_again_has_a_greater_fence
                only_the_holder_gives_it_up
                giving_up_nothing_is_no_error
                lapse_frees_the_lease_and_raises_the_fence
                lapse_raises_the_fence_of_the_same_holder
                renewal_counts_from_its_own_time
                longest_lease_is_taken
                names_have_limits
                one_of_many_at_once_gets_it
                leases_take_no_place
            }
            life {
                info_says_what_it_is
                first_preparation_creates_everything
                second_preparation_changes_nothing
                added_column_is_filled
                added_kinds_lanes_and_sets_are_created
                pending_says_what_preparing_would_do_and_does_nothing
                pending_of_a_new_store_is_everything
                store_is_read_by_the_schema_before
                footprint_names_what_is_declared
                added_unique_column_must_not_clash
                stored_kind_that_is_not_declared_is_refused
                clean_store_has_no_findings
                index_values_that_differ_from_the_body_are_found
                closed_store_is_unavailable
                closing_finishes_what_was_accepted
            }
            transfer {
                empty_store_exports_its_end
                records_are_in_order
                digest_is_over_all_records
                equal_contents_have_equal_digests
                any_difference_changes_the_digest
                import_carries_everything
                imported_store_is_indexed
                imported_store_goes_on_where_the_source_stood
                empty_export_is_imported
                target_that_is_not_empty_is_refused
                damaged_export_leaves_nothing_usable
                broken_off_import_leaves_nothing_usable
                altered_link_is_found_although_the_digest_is_right
                export_is_one_place_while_writers_run
                long_export_is_imported
            }
            together {
                no_update_is_lost
                history_is_explainable
                creation_is_won_once
                write_skew_is_prevented
                refused_batch_does_not_harm_its_neighbours
                hundreds_of_batches_in_flight
                dropped_commit_is_whole_or_not_at_all
                dropped_commit_is_settled_by_its_id
                dropped_ingest_is_whole_or_not_at_all
                commits_and_ingests_run_side_by_side
            }
            reopen {
                everything_acknowledged_is_there
                last_commit_is_there
                last_ingest_is_there
                many_at_once_are_there
                places_and_revisions_go_on
                batch_ids_are_remembered
                feed_is_kept_with_its_compaction
                chain_goes_on
                unique_values_stay_taken
                trimmed_rows_stay_away
                fences_outlive_the_store
                preparation_of_a_known_schema_changes_nothing
                older_schema_is_refused
                imported_store_is_kept
            }
            texts {
                nul_in_a_text_is_refused_at_the_door
                nul_in_one_of_many_values_is_refused_at_the_door
                nul_in_a_row_is_refused_at_the_door
                nul_beside_the_index_is_kept
                nul_bounds_a_range_by_its_byte
                composed_and_decomposed_texts_are_two
                characters_that_look_alike_are_apart
                cases_of_any_script_are_apart
                texts_from_right_to_left_are_kept
                characters_that_nobody_sees_count
                spaces_at_either_end_count
                control_characters_are_kept_and_found
                texts_that_look_like_something_else_stay_texts
                empty_text_is_not_null
                order_is_by_bytes_where_collations_differ
                order_of_all_planes_is_that_of_utf_8
                prefix_before_the_surrogates_ends_where_it_should
                longest_texts_differ_by_their_last_byte
                limit_of_a_text_is_in_bytes
                tallies_are_in_the_order_of_bytes
                rows_are_compared_by_bytes_too
                names_of_leases_are_compared_by_bytes
                megabytes_of_text_are_stored_and_listed_together
            }
            numbers {
                neighbours_are_apart_in_every_filter
                integers_are_in_order_from_end_to_end
                cursors_lie_at_the_ends_too
                levels_of_rows_reach_from_end_to_end
                row_cursors_lie_at_the_ends_too
                times_before_1970_are_trimmed_like_others
                demanded_revision_may_be_any_number
                feed_may_begin_beyond_every_place
                compaction_beyond_every_place_ends_at_the_newest
                ids_of_zeros_and_of_ones_are_ids
            }
            agree {
                lists_hold_exactly_what_matches
                counts_are_the_lengths_of_the_lists
                tallies_count_what_the_lists_hold
                orders_are_those_of_the_values
                pages_of_any_size_make_the_same_list
                one_question_in_two_forms_has_one_answer
                parts_of_a_range_make_the_whole
                each_document_is_found_by_each_of_its_values
                readings_hold_exactly_what_matches
                readings_of_streams_make_the_whole_lane
                pages_of_latest_values_make_the_whole_set
            }
            walks {
                walk_by_id
                walk_by_a_text
                walk_by_an_integer
                walk_by_an_id
                walk_by_a_unique_text
                walk_by_a_unique_integer
                walk_through_a_filter_of_many_values
                walk_through_a_filter_by_id
                walk_through_a_range
                walk_through_equal_values
                walk_through_nothing_but_null
                walk_of_a_lane
                walk_of_a_stream
                walk_of_a_lane_by_filter
                walk_of_a_lane_goes_on_behind_a_trim
                walk_of_latest_values
                held_view_tells_the_same_while_everything_changes
            }
            histories {
                every_append_is_there_once_and_no_other
                places_and_revisions_are_given_once
                a_list_is_a_beginning_of_every_later_one
                no_client_reads_back_in_time
                what_was_acknowledged_is_read_by_everybody
                what_begins_later_gets_a_later_place
                nothing_is_read_before_it_begins
                every_view_is_one_place_of_the_history
                every_refusal_names_a_revision_of_its_time
                feed_is_the_history
                chain_is_the_history
                lane_holds_what_was_acknowledged
                history_goes_on_after_reopening
                latest_values_are_never_older_than_what_was_acknowledged
            }
            settled {
                repeat_after_reopening_changes_nothing_at_all
                batch_without_change_is_remembered_after_reopening
                reuse_after_reopening_is_refused
                refused_batch_is_judged_anew_after_reopening
                forgotten_ids_stay_forgotten_after_reopening
                commits_in_flight_at_closing_are_settled_by_their_ids
                dropped_commits_are_settled_after_reopening
                repeats_among_writers_after_reopening_are_applied_once
                dropped_ingest_may_be_sent_again
                counting_is_exact_although_answers_get_lost
            }
            load {
                two_thousand_commits_at_once
                two_thousand_ingests_at_once
                two_thousand_claims_have_one_winner
                views_are_given_while_writers_queue
                hundred_readers_at_once
                large_batches_side_by_side
                dropped_large_commit_is_whole_or_not_at_all
                dropped_calls_of_every_kind_leave_a_store_that_works
                closing_under_load_tells_the_truth
                closing_ends_readers_and_followers
                closing_many_times_at_once_is_no_error
                contended_lease_has_one_holder_at_a_time
                lapsing_leases_raise_every_fence
            }
            races {
                compaction_races_with_followers
                compactions_at_once_count_each_place_once
                trims_at_once_count_each_row_once
                trims_race_with_readers
                trims_take_only_what_is_older
                checks_under_load_find_nothing
                preparation_under_load_changes_nothing
                sixty_followers_see_the_same
                followers_that_leave_are_not_missed
                exports_under_load_are_of_one_moment
            }
            records {
                pages_of_any_size_hold_the_same
                reading_begins_after_any_key
                readings_are_bounded
                large_bodies_make_shorter_pages
                held_view_shows_the_same_records
                rows_answer_in_the_order_of_their_places
                places_are_checked
                walk_of_records_goes_on_under_writers
            }
            standing {
                new_store_serves_and_came_from_nowhere
                frozen_store_refuses_every_write
                frozen_store_refuses_repeats_too
                frozen_store_reads_as_before
                freezing_tells_where_commit_order_stands
                frozen_store_says_for_which_move
                freezing_for_another_move_is_refused
                one_of_two_moves_at_once_freezes
                frozen_store_serves_again
                serving_a_store_that_serves_is_no_error
                preparing_a_frozen_store_changes_nothing_or_is_refused
                writes_in_flight_at_freezing_are_in_or_refused
                upkeep_in_flight_at_freezing_is_done_or_refused
                empty_store_is_filled
                store_that_holds_something_is_not_filled
                filling_goes_on_for_the_same_move_only
                frozen_store_is_filled_over_what_it_holds
                filling_forgets_batch_ids_and_leases
                clearing_makes_a_filled_store_new
                only_a_store_that_is_filled_is_cleared
                only_a_store_that_is_filled_is_patched
                served_store_remembers_where_it_came_from
                frozen_store_is_frozen_when_it_is_opened_again
                filling_goes_on_when_the_store_is_opened_again
                cleared_and_served_stores_stay_so
                name_of_the_peer_may_be_any_text
                frozen_store_still_says_what_is_invalid_or_not_served
            }
            patches {
                records_are_stored_as_they_are
                patch_again_changes_nothing
                record_replaces_what_is_there
                removals_come_before_records
                what_is_removed_is_gone_everywhere
                unique_values_are_swapped_in_one_patch
                unique_value_is_held_once
                patched_store_is_indexed
                commit_order_never_goes_back
                feed_begins_after_the_patches
                chain_goes_on_after_patches_in_any_order
                rows_that_a_repair_went_on_without_are_a_known_loss_in_every_copy
                rows_that_are_missing_from_a_chain_are_damage
                records_that_no_store_held_are_refused_whole
                largest_patch_is_stored
                patches_outlive_the_store
                dropped_patch_is_whole_or_not_at_all
                copied_store_equals_its_source
                order_of_patches_does_not_matter
            }
            tracking {
                nothing_is_noted_unless_asked
                commits_are_noted
                ingests_are_noted
                notes_are_numbered_and_go_on
                key_comes_once_however_often_it_is_written
                tracking_anew_forgets_the_notes
                nothing_is_trimmed_meanwhile
                tracking_ends_with_the_store
                pages_of_notes_are_bounded
                notes_go_on_while_frozen
                what_was_acknowledged_is_noted_at_once
                move_under_load_loses_nothing_that_was_acknowledged
                refused_writes_need_no_copy
                repeated_writes_are_noted_or_unchanged
            }
        }
    };
}

__cases! { table () }
